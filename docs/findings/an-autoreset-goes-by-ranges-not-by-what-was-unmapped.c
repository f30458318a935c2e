// SPDX-License-Identifier: MIT
/*
 * An autoreset goes by ranges, not by what was unmapped
 *
 * suites/madvise/test_autoreset.py::test_memory_the_gpu_never_touched_is_reset
 *
 * With MADVISE_AUTORESET, munmap of memory that the GPU never accessed resets its attributes too: the
 * header promises the intersection of bind and unmapped range. (madvise.autoreset.needs-range;
 * drivers/gpu/drm/xe/xe_svm.c:xe_svm_garbage_collector, include/uapi/drm/xe_drm.h:MADVISE_AUTORESET)
 *
 * Seen: assert mode(vm, address) == 0: 3 == 0 (guest/7.3.4x2, Linux 7.3.4+deb13-amd64)
 *
 * cc -Wall -Wextra -o repro repro.c && ./repro [/dev/dri/renderD128]
 *
 * It ends with 1 where the fault is, 0 where it is not, 77 where it cannot tell (no device, no such
 * capability), 2 where something else went wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
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

__attribute__((noreturn, format(printf, 2, 3))) static void end(int status, const char *why, ...)
{
	va_list values;

	va_start(values, why);
	vfprintf(stderr, why, values);
	va_end(values);
	fputc('\n', stderr);
	_exit(status);
}

static int open_device(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

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

/* Whether the device has these DRM_XE_QUERY_CONFIG_FLAG_*; without them it cannot show the fault. */
static void claims(int fd, uint64_t flags)
{
	uint64_t reply[64] = { 0 };
	struct drm_xe_device_query query = { .query = DRM_XE_DEVICE_QUERY_CONFIG };

	if (try_ioctl(fd, DRM_IOCTL_XE_DEVICE_QUERY, &query) || query.size > sizeof(reply))
		end(UNKNOWN, "not a device of the xe driver");
	query.data = (uintptr_t)reply;
	CALL(fd, DRM_IOCTL_XE_DEVICE_QUERY, &query, 0);
	if ((reply[1 + DRM_XE_QUERY_CONFIG_FLAGS] & flags) != flags)
		end(UNKNOWN, "the device does not claim what the fault needs");
}

static void map(uint64_t at, uint64_t size, int protection, int flags, int fd, uint64_t offset)
{
	if (mmap((void *)at, size, protection, flags, fd, offset) != (void *)at)
		end(OTHERWISE, "mmap(%#lx, %#lx): %s", (long)at, (long)size, strerror(errno));
}

/* A system call that has to give this errno, 0 for success. */
static void check(int line, const char *what, int result, int expected)
{
	int code = result ? errno : 0;

	if (code != expected)
		end(OTHERWISE, "line %d: %s: errno %d (%s), not %d", line, what, code, strerror(code), expected);
}

#define CHECK(call, expected) check(__LINE__, #call, (call) ? -1 : 0, expected)

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

static uint64_t memory1 = 0x100055e00000;
static uint64_t memory2 = 0x100056202000;
static uint64_t word1;
static int fd1;
static uint32_t vm1;
static uint64_t seen;

int main(int argc, char **argv)
{
	int code;

	fd1 = open_device(argc > 1 ? argv[1] : "/dev/dri/renderD128");
	claims(fd1, DRM_XE_QUERY_CONFIG_FLAG_HAS_CPU_ADDR_MIRROR);
	struct drm_xe_vm_create vm_create1 = {
		.flags = DRM_XE_VM_CREATE_FLAG_LR_MODE | DRM_XE_VM_CREATE_FLAG_FAULT_MODE,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_CREATE, &vm_create1, 0);
	vm1 = vm_create1.vm_id;
	struct drm_xe_sync syncs1[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word1,
			.timeline_value = 0xb42ff00ad7c299d1,
		},
	};
	struct drm_xe_vm_bind vm_bind1 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.pat_index = 2,
			.range = 0x1000000000000,
			.flags = DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR | DRM_XE_VM_BIND_FLAG_MADVISE_AUTORESET,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs1,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind1, 0);
	struct drm_xe_wait_user_fence wait_user_fence1 = {
		.addr = (uintptr_t)&word1,
		.value = 0xb42ff00ad7c299d1,
		.mask = 0xffffffffffffffff,
		.timeout = 0x4a817c800,
	};
	CALL(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence1, 0);
	SAW(load64((uintptr_t)&word1), 0xb42ff00ad7c299d1);
	map(memory1 - 0x1000, 0x402000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	map(memory1, 0x400000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct drm_xe_madvise madvise1 = {
		.start = 0x100055c00000,
		.range = 0x800000,
		.vm_id = vm1,
		.type = DRM_XE_MEM_RANGE_ATTR_ATOMIC,
		.atomic = {
			.val = DRM_XE_ATOMIC_CPU,
		},
	};
	CALL(fd1, DRM_IOCTL_XE_MADVISE, &madvise1, 0);
	map(memory2 - 0x1000, 0x3000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	map(memory2, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	CHECK(munmap((void *)(memory1), 0x200000), 0);
	struct drm_xe_madvise madvise2 = {
		.start = memory2,
		.range = 0x1000,
		.vm_id = vm1,
		.type = DRM_XE_MEM_RANGE_ATTR_ATOMIC,
	};
	CALL(fd1, DRM_IOCTL_XE_MADVISE, &madvise2, 0);
	struct drm_xe_vm_query_mem_range_attr vm_query_mem_range_attrs1 = {
		.vm_id = vm1,
		.start = memory1 + 0x200000,
		.range = 0x1000,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, &vm_query_mem_range_attrs1, 0);
	uint64_t vector_of_mem_attr1[8] = { 0 };
	struct drm_xe_vm_query_mem_range_attr vm_query_mem_range_attrs2 = {
		.vm_id = vm1,
		.num_mem_ranges = 1,
		.start = memory1 + 0x200000,
		.range = 0x1000,
		.sizeof_mem_range_attr = 0x40,
		.vector_of_mem_attr = (uintptr_t)vector_of_mem_attr1,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, &vm_query_mem_range_attrs2, 0);
	struct drm_xe_vm_query_mem_range_attr vm_query_mem_range_attrs3 = {
		.vm_id = vm1,
		.start = memory1,
		.range = 0x1000,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, &vm_query_mem_range_attrs3, 0);
	uint64_t vector_of_mem_attr2[8] = { 0 };
	struct drm_xe_vm_query_mem_range_attr vm_query_mem_range_attrs4 = {
		.vm_id = vm1,
		.num_mem_ranges = 1,
		.start = memory1,
		.range = 0x1000,
		.sizeof_mem_range_attr = 0x40,
		.vector_of_mem_attr = (uintptr_t)vector_of_mem_attr2,
	};
	code = try_ioctl(fd1, DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, &vm_query_mem_range_attrs4);
	if (code != 0)
		end(OTHERWISE, "DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS gave errno %d (%s)", code, strerror(code));
	seen = ((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs4.vector_of_mem_attr)[0].atomic.val;
	/* the test saw 3 */
	if (seen != 0)
		end(FAULT, "%s: %#lx, not 0", "vector_of_mem_attr->drm_xe_mem_range_attr[0].atomic.val", (long)seen);
	end(GOOD, "the fault is not there");
}
