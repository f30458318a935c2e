// SPDX-License-Identifier: MIT
/*
 * VM_BIND executes operations that were left in freed memory
 *
 * suites/bind/test_arrays.py::test_unmap_of_unbound_bo_leaves_binds_of_array[1]
 *
 * The ops of an array apply in order: MAP then UNMAP of a range leaves it unmapped, the reverse leaves
 * it mapped. (bind.array.order; drivers/gpu/drm/xe/xe_vm_doc.h:Array of bind operations,
 * Documentation/gpu/drm-vm-bind-async.rst:list of ops)
 *
 * Seen: ETIME: DRM_IOCTL_XE_WAIT_USER_FENCE on fd 17: Timer expired (driver, Linux 7.3.4+deb13-amd64)
 *
 * cc -Wall -Wextra -o repro repro.c && ./repro [/dev/dri/renderD128]
 *
 * It ends with 1 where the fault is, 0 where it is not, 77 where it cannot tell (no device, no such
 * capability), 2 where something else went wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <drm/drm.h>
#include <drm/xe_drm.h>

enum { GOOD = 0, FAULT = 1, OTHERWISE = 2, UNKNOWN = 77 };

/* Whether a step ended as it did not in the test: what comes after it may be right all the same, but is no fault. */
static int astray;

__attribute__((noreturn, format(printf, 2, 3))) static void end(int status, const char *why, ...)
{
	va_list values;

	if (astray && status == FAULT)
		status = OTHERWISE;
	va_start(values, why);
	vfprintf(stderr, why, values);
	va_end(values);
	fputc('\n', stderr);
	_exit(status);
}

/* The program's arguments: device nodes, in the order in which it opens them first. */
static char **nodes;

static int open_device(int number, const char *path)
{
	int fd;

	for (int at = 1; at <= number && nodes[at]; at++)
		path = at == number ? nodes[at] : path;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		end(UNKNOWN, "%s: %s", path, strerror(errno));
	return fd;
}

/* The errno of an ioctl, 0 for success. */
static int try_ioctl(int fd, unsigned long request, void *argument)
{
	return ioctl(fd, request, argument) < 0 ? errno : 0;
}

/* An ioctl that has to give this errno, 0 for success: what comes after it makes no sense otherwise. */
static void call(int line, const char *name, int fd, unsigned long request, void *argument, int expected)
{
	int code = try_ioctl(fd, request, argument);

	if (code == expected)
		return;
	if (!expected && (code == EOPNOTSUPP || code == ENODEV || code == ENOSYS || code == EACCES || code == EPERM))
		end(UNKNOWN, "line %d: %s: %s", line, name, strerror(code));
	end(OTHERWISE, "line %d: %s gave errno %d (%s), not %d", line, name, code, strerror(code), expected);
}

#define CALL(fd, request, argument, expected) call(__LINE__, #request, fd, request, argument, expected)

/* A wait or a question, which gave this errno in the test, 0 for success: what comes after it does not depend on that. */
static void waited(int line, const char *what, int fd, unsigned long request, void *argument, int expected)
{
	int code = try_ioctl(fd, request, argument);

	if (code != expected) {
		fprintf(stderr, "line %d: %s gave errno %d (%s), not %d\n", line, what, code, strerror(code), expected);
		astray = 1;
	}
}

#define WAIT(fd, request, argument, expected) waited(__LINE__, "the wait", fd, request, argument, expected)
#define ASK(fd, request, argument, expected) waited(__LINE__, #request, fd, request, argument, expected)

/* Whether a file has a text; in /dev/kmsg each read gives one record. */
static int says(const char *path, const char *words)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), found = 0;
	char text[8193];
	ssize_t size;

	while (fd >= 0 && !found && ((size = read(fd, text, sizeof(text) - 1)) > 0 || (size < 0 && errno == EPIPE))) {
		text[size > 0 ? size : 0] = 0;
		found = !!strstr(text, words);
	}
	close(fd);
	return found;
}

/*
 * Whether the kernel allocates memory without clearing it; if it does not, the fault cannot be seen. What is freed is
 * allocated again on the same processor, so the program stays on one.
 */
static void uncleared(void)
{
	cpu_set_t one;

	if (!says("/proc/cmdline", "init_on_alloc=0") && !says("/dev/kmsg", "heap alloc:off"))
		end(UNKNOWN, "the kernel clears what it allocates, or its log does not say any more that it does not");
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
}

static void map(uint64_t at, uint64_t size, int protection, int flags, int fd, uint64_t offset)
{
	if (mmap((void *)at, size, protection, flags, fd, offset) != (void *)at)
		end(OTHERWISE, "mmap(%#lx, %#lx): %s", (long)at, (long)size, strerror(errno));
}

static void store64(uint64_t at, uint64_t value)
{
	*(volatile uint64_t *)at = value;
}

static uint64_t load64(uint64_t at)
{
	return *(volatile uint64_t *)at;
}

/* What the test saw here without a complaint. */
static void saw(int line, uint64_t value, uint64_t was)
{
	if (value != was)
		fprintf(stderr, "line %d: %#lx, was %#lx in the test\n", line, (long)value, (long)was);
}

#define SAW(value, was) saw(__LINE__, value, was)

static uint64_t memory1 = 0x2000003f0000;
static uint64_t word1;
static int fd1;
static uint32_t vm1;
static uint32_t bo1;
static uint32_t bo2;
static uint32_t queue1;
static uint32_t bo3;
static uint64_t offset1;

int main(int argc, char **argv)
{
	int code;

	(void)argc;
	nodes = argv;
	fd1 = open_device(1, "/dev/dri/renderD128");
	uncleared();
	struct drm_xe_vm_create vm_create1 = {
		.flags = DRM_XE_VM_CREATE_FLAG_LR_MODE | DRM_XE_VM_CREATE_FLAG_FAULT_MODE,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_CREATE, &vm_create1, 0);
	vm1 = vm_create1.vm_id;
	struct drm_xe_gem_create gem_create1 = {
		.size = 0x1000,
		.placement = 1,
		.cpu_caching = DRM_XE_GEM_CPU_CACHING_WB,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_CREATE, &gem_create1, 0);
	bo1 = gem_create1.handle;
	struct drm_xe_gem_create gem_create2 = {
		.size = 0x1000,
		.placement = 1,
		.cpu_caching = DRM_XE_GEM_CPU_CACHING_WB,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_CREATE, &gem_create2, 0);
	bo2 = gem_create2.handle;
	struct drm_xe_sync syncs1[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word1,
			.timeline_value = 0x9659a39091daf88e,
		},
	};
	struct drm_xe_vm_bind vm_bind1 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.obj = bo2,
			.pat_index = 2,
			.range = 0x1000,
			.addr = 0x10000104000,
			.flags = DRM_XE_VM_BIND_FLAG_IMMEDIATE,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs1,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind1, 0);
	struct drm_xe_wait_user_fence wait_user_fence1 = {
		.addr = (uintptr_t)&word1,
		.value = 0x9659a39091daf88e,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
	};
	WAIT(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence1, 0);
	SAW(load64((uintptr_t)&word1), 0x9659a39091daf88e);
	struct drm_xe_sync syncs2[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word1,
			.timeline_value = 0xbf3ee22907311089,
		},
	};
	struct drm_xe_vm_bind vm_bind2 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.obj = bo1,
			.pat_index = 2,
			.range = 0x1000,
			.addr = 0x10000000000,
			.flags = DRM_XE_VM_BIND_FLAG_IMMEDIATE,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs2,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind2, 0);
	struct drm_xe_wait_user_fence wait_user_fence2 = {
		.addr = (uintptr_t)&word1,
		.value = 0xbf3ee22907311089,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
	};
	WAIT(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence2, 0);
	SAW(load64((uintptr_t)&word1), 0xbf3ee22907311089);
	struct drm_xe_sync syncs3[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word1,
			.timeline_value = 0x9400a1584c9bd818,
		},
	};
	struct drm_xe_vm_bind vm_bind3 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.obj = bo2,
			.pat_index = 2,
			.range = 0x1000,
			.addr = 0x10000100000,
			.flags = DRM_XE_VM_BIND_FLAG_IMMEDIATE,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs3,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind3, 0);
	struct drm_xe_wait_user_fence wait_user_fence3 = {
		.addr = (uintptr_t)&word1,
		.value = 0x9400a1584c9bd818,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
	};
	WAIT(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence3, 0);
	SAW(load64((uintptr_t)&word1), 0x9400a1584c9bd818);
	struct drm_xe_sync syncs4[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word1,
			.timeline_value = 0xbbb690ff72652635,
		},
	};
	struct drm_xe_vm_bind vm_bind4 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.obj = bo2,
			.pat_index = 2,
			.range = 0x1000,
			.addr = 0x20000000000,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs4,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind4, 0);
	struct drm_xe_wait_user_fence wait_user_fence4 = {
		.addr = (uintptr_t)&word1,
		.value = 0xbbb690ff72652635,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
	};
	WAIT(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence4, 0);
	SAW(load64((uintptr_t)&word1), 0xbbb690ff72652635);
	struct drm_xe_vm_bind_op vector_of_binds1[] = {
		{
			.pat_index = 2,
			.range = 0x1000,
			.addr = 0x10000100000,
			.op = DRM_XE_VM_BIND_OP_UNMAP,
		},
		{
			.pat_index = 2,
			.range = 0x1000,
			.addr = 0x10000000000,
			.op = DRM_XE_VM_BIND_OP_UNMAP,
		},
	};
	struct drm_xe_vm_bind vm_bind5 = {
		.vm_id = vm1,
		.num_binds = 2,
		.vector_of_binds = (uintptr_t)vector_of_binds1,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind5, 0);
	struct drm_xe_vm_bind_op vector_of_binds2[] = {
		{
			.obj = bo1,
			.pat_index = 2,
			.range = 0x1000,
			.addr = 0x10000000000,
			.flags = DRM_XE_VM_BIND_FLAG_IMMEDIATE,
		},
		{
			.pat_index = 2,
			.range = 0x1000,
			.addr = 0x20000000000,
			.op = DRM_XE_VM_BIND_OP_UNMAP,
		},
	};
	struct drm_xe_vm_bind vm_bind6 = {
		.vm_id = vm1,
		.num_binds = 2,
		.vector_of_binds = (uintptr_t)vector_of_binds2,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind6, 0);
	struct drm_xe_engine_class_instance instances1[] = {
		{
			.engine_class = DRM_XE_ENGINE_CLASS_COPY,
		},
	};
	struct drm_xe_exec_queue_create exec_queue_create1 = {
		.width = 1,
		.num_placements = 1,
		.vm_id = vm1,
		.instances = (uintptr_t)instances1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_CREATE, &exec_queue_create1, 0);
	queue1 = exec_queue_create1.exec_queue_id;
	struct drm_xe_gem_create gem_create3 = {
		.size = 0x10000,
		.placement = 1,
		.cpu_caching = DRM_XE_GEM_CPU_CACHING_WB,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_CREATE, &gem_create3, 0);
	bo3 = gem_create3.handle;
	map(memory1, 0x10000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	struct drm_xe_gem_mmap_offset gem_mmap_offset1 = {
		.handle = bo3,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_MMAP_OFFSET, &gem_mmap_offset1, 0);
	offset1 = gem_mmap_offset1.offset;
	map(memory1, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd1, offset1);
	struct drm_xe_sync syncs5[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word1,
			.timeline_value = 0x9c645da80dbfb542,
		},
	};
	struct drm_xe_vm_bind vm_bind7 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.obj = bo3,
			.pat_index = 2,
			.range = 0x10000,
			.addr = memory1,
			.flags = DRM_XE_VM_BIND_FLAG_IMMEDIATE,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs5,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind7, 0);
	struct drm_xe_wait_user_fence wait_user_fence5 = {
		.addr = (uintptr_t)&word1,
		.value = 0x9c645da80dbfb542,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
	};
	WAIT(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence5, 0);
	SAW(load64((uintptr_t)&word1), 0x9c645da80dbfb542);
	uint32_t batch1[] = {
		/* MI_STORE_DATA_IMM */ 0x10000002, 0x0, 0x100, 0x59767f1e,
		/* MI_BATCH_BUFFER_END */ 0x5000000,
	};
	memcpy((void *)(memory1 + 0x1000), batch1, sizeof(batch1));
	store64(memory1, 0);
	struct drm_xe_sync syncs6[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = memory1,
			.timeline_value = 0x99aba7b388f39c88,
		},
	};
	struct drm_xe_exec exec1 = {
		.exec_queue_id = queue1,
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs6,
		.address = memory1 + 0x1000,
		.num_batch_buffer = 1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC, &exec1, 0);
	struct drm_xe_wait_user_fence wait_user_fence6 = {
		.addr = memory1,
		.value = 0x99aba7b388f39c88,
		.mask = 0xffffffffffffffff,
		.timeout = 0x77359400,
		.exec_queue_id = queue1,
	};
	code = try_ioctl(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence6);
	/* the test saw ETIME */
	if (code != 0)
		end(FAULT, "DRM_IOCTL_XE_WAIT_USER_FENCE gave errno %d (%s), not 0", code, strerror(code));
	end(GOOD, "the fault is not there");
}
