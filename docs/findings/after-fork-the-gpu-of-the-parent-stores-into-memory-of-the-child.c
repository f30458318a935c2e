// SPDX-License-Identifier: MIT
/*
 * After fork the GPU of the parent stores into memory of the child
 *
 * suites/locking_race/test_memory.py::test_fork_child_has_snapshot_of_vram
 *
 * fork during GPU access gives the child a snapshot that is consistent for each page, and the parent
 * continues. (race.fork-vs-fault; drivers/gpu/drm/xe/xe_svm.c:xe_svm_invalidate,
 * Documentation/gpu/rfc/gpusvm.rst)
 *
 * After fork GPU stores change the copy of the parent; the data of the child does not change.
 * (life.fork-parent-continues; drivers/gpu/drm/xe/xe_svm.c:xe_svm_invalidate,
 * Documentation/mm/hmm.rst)
 *
 * After fork GPU work of the VM of the parent accesses the parent only; the child sees a snapshot.
 * (life.fork-child-memory; drivers/gpu/drm/xe/xe_svm.c:xe_svm_init (mm of creator))
 *
 * Seen: assert ended.result == before (guest/7.3.4x2, Linux 7.3.4+deb13-amd64)
 *
 * cc -Wall -Wextra -o repro repro.c && ./repro [/dev/dri/renderD128]
 *
 * It ends with 1 where the fault is, 0 where it is not, 77 where it cannot tell (no device, no such
 * capability), 2 where something else went wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/wait.h>
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

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* That many nanoseconds from now. */
static long long deadline(long long nanoseconds)
{
	return now() + nanoseconds;
}

static volatile int *turns;

/* Wait until those steps are done that came before in the test, or until a child of this process has ended. */
static void turn(int number)
{
	long long by = deadline(60000000000LL);

	while (__atomic_load_n(turns, __ATOMIC_ACQUIRE) < number) {
		siginfo_t ended = { 0 };

		if (!waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) && ended.si_pid) {
			if (ended.si_code == CLD_EXITED && ended.si_status)
				_exit(ended.si_status);
			if (ended.si_code != CLD_EXITED)
				return;
		}
		if (now() > by)
			end(OTHERWISE, "turn %d did not come", number);
		usleep(100);
	}
}

static void over(int number)
{
	__atomic_store_n(turns, number + 1, __ATOMIC_RELEASE);
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

static void store32(uint64_t at, uint32_t value)
{
	*(volatile uint32_t *)at = value;
}

static void store64(uint64_t at, uint64_t value)
{
	*(volatile uint64_t *)at = value;
}

static uint32_t load32(uint64_t at)
{
	return *(volatile uint32_t *)at;
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

/* Wait for a child, which a signal has to end, or none if 0. */
static void reap(pid_t child, int signal)
{
	int status = 0;

	if (waitpid(child, &status, 0) != child)
		end(OTHERWISE, "waitpid: %s", strerror(errno));
	if (WIFEXITED(status) && WEXITSTATUS(status))
		_exit(WEXITSTATUS(status));
	if ((WIFSIGNALED(status) ? WTERMSIG(status) : 0) != signal)
		end(OTHERWISE, "the child ended by signal %d, not %d",
		    WIFSIGNALED(status) ? WTERMSIG(status) : 0, signal);
}

/* The two dwords of an address in a batch. */
#define ADDRESS(address) (uint32_t)(address), (uint32_t)((uint64_t)(address) >> 32)

static uint64_t memory1 = 0x10000c002000;
static uint64_t memory2 = 0x10000c400000;
static uint64_t memory3 = 0x2000002d0000;
static uint64_t word1;
static uint64_t word2;
static int fd1;
static uint32_t vm1;
static uint32_t queue1;
static uint32_t bo1;
static uint64_t offset1;
static pid_t child1;
static uint64_t seen;

static void child1_steps(void)
{
	turn(1);
	store32(memory1, 0x2e34440c);
	/* the end of the batch */
	for (long long by2 = deadline(20000000000LL);;) {
		SAW(load64(memory3 + 0x8), 0);
		SAW(load64(memory3 + 0x8), 0);
		SAW(load64(memory3 + 0x8), 0);
		SAW(load64(memory3 + 0x8), 0);
		if (load64(memory3 + 0x8) == 0xbf379d36df4dfd4f)
			break;
		if (now() > by2)
			end(OTHERWISE, "%s", "timed out waiting for the end of the batch");
		usleep(100);
	}
	SAW(load32(memory2), 0x766d046b);
	SAW(load32(memory2 + 0x40000), 0x3168de77);
	SAW(load32(memory2 + 0x80000), 0x41dd6adb);
	SAW(load32(memory2 + 0xc0000), 0xae392190);
	SAW(load32(memory2 + 0x100000), 0x45de1b87);
	SAW(load32(memory2 + 0x140000), 0xe20017ca);
	SAW(load32(memory2 + 0x180000), 0x25b38baf);
	seen = load32(memory2 + 0x1c0000);
	/* the test did not accept this value */
	if (seen == 0x189657ee)
		end(FAULT, "%s is %#lx", "32 bits at memory2 + 0x1c0000", (long)seen);
	over(1);
}


int main(int argc, char **argv)
{
	turns = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (turns == MAP_FAILED)
		end(OTHERWISE, "mmap: %s", strerror(errno));
	fd1 = open_device(argc > 1 ? argv[1] : "/dev/dri/renderD128");
	claims(fd1, DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM | DRM_XE_QUERY_CONFIG_FLAG_HAS_CPU_ADDR_MIRROR);
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
			.timeline_value = 0xa1619002f3570b92,
		},
	};
	struct drm_xe_vm_bind vm_bind1 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.pat_index = 2,
			.range = 0x1000000000000,
			.flags = DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs1,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind1, 0);
	struct drm_xe_wait_user_fence wait_user_fence1 = {
		.addr = (uintptr_t)&word1,
		.value = 0xa1619002f3570b92,
		.mask = 0xffffffffffffffff,
		.timeout = 0x4a817c800,
	};
	CALL(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence1, 0);
	SAW(load64((uintptr_t)&word1), 0xa1619002f3570b92);
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
	map(memory1 - 0x1000, 0x3000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	map(memory1, 0x1000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	map(memory2 - 0x1000, 0x202000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	map(memory2, 0x200000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct drm_xe_gem_create gem_create1 = {
		.size = 0x10000,
		.placement = 1,
		.cpu_caching = DRM_XE_GEM_CPU_CACHING_WB,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_CREATE, &gem_create1, 0);
	bo1 = gem_create1.handle;
	map(memory3, 0x10000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	struct drm_xe_gem_mmap_offset gem_mmap_offset1 = {
		.handle = bo1,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_MMAP_OFFSET, &gem_mmap_offset1, 0);
	offset1 = gem_mmap_offset1.offset;
	map(memory3, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd1, offset1);
	struct drm_xe_sync syncs2[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word2,
			.timeline_value = 0xac8cbd433160197c,
		},
	};
	struct drm_xe_vm_bind vm_bind2 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.obj = bo1,
			.pat_index = 2,
			.range = 0x10000,
			.addr = memory3,
			.flags = DRM_XE_VM_BIND_FLAG_IMMEDIATE,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs2,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind2, 0);
	struct drm_xe_wait_user_fence wait_user_fence2 = {
		.addr = (uintptr_t)&word2,
		.value = 0xac8cbd433160197c,
		.mask = 0xffffffffffffffff,
		.timeout = 0x4a817c800,
	};
	CALL(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence2, 0);
	SAW(load64((uintptr_t)&word2), 0xac8cbd433160197c);
	uint32_t batch1[] = {
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2), 0x6dd4918d,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x40000), 0x65dcc4d0,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x80000), 0xaeab7f93,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0xc0000), 0x715f86a1,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x100000), 0x8cb04d05,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x140000), 0x9440190e,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x180000), 0xa30a6d62,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x1c0000), 0xc8b65cd,
		/* MI_BATCH_BUFFER_END */ 0x5000000,
	};
	memcpy((void *)(memory3 + 0x1000), batch1, sizeof(batch1));
	store64(memory3, 0);
	struct drm_xe_sync syncs3[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = memory3,
			.timeline_value = 0xa2d533a2b2e85a9d,
		},
	};
	struct drm_xe_exec exec1 = {
		.exec_queue_id = queue1,
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs3,
		.address = memory3 + 0x1000,
		.num_batch_buffer = 1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC, &exec1, 0);
	struct drm_xe_wait_user_fence wait_user_fence3 = {
		.addr = memory3,
		.value = 0xa2d533a2b2e85a9d,
		.mask = 0xffffffffffffffff,
		.timeout = 0x4a817c800,
		.exec_queue_id = queue1,
	};
	CALL(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence3, 0);
	SAW(load64(memory3), 0xa2d533a2b2e85a9d);
	uint32_t batch2[] = {
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory1 + 0x40), 0xa9bb8e69,
		/* MI_SEMAPHORE_WAIT */ 0xe00c003, 0x2e34440c, ADDRESS(memory1), 0x0,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2), 0x766d046b,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x40000), 0x3168de77,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x80000), 0x41dd6adb,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0xc0000), 0xae392190,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x100000), 0x45de1b87,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x140000), 0xe20017ca,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x180000), 0x25b38baf,
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory2 + 0x1c0000), 0x189657ee,
		/* MI_BATCH_BUFFER_END */ 0x5000000,
	};
	memcpy((void *)(memory3 + 0x10c0), batch2, sizeof(batch2));
	store64(memory3 + 0x8, 0);
	struct drm_xe_sync syncs4[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = memory3 + 0x8,
			.timeline_value = 0xbf379d36df4dfd4f,
		},
	};
	struct drm_xe_exec exec2 = {
		.exec_queue_id = queue1,
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs4,
		.address = memory3 + 0x10c0,
		.num_batch_buffer = 1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC, &exec2, 0);
	/* the batch to reach the gate */
	for (long long by1 = deadline(20000000000LL);;) {
		if (load32(memory1 + 0x40) == 0xa9bb8e69)
			break;
		if (now() > by1)
			end(OTHERWISE, "%s", "timed out waiting for the batch to reach the gate");
		usleep(100);
	}
	child1 = fork();
	if (child1 < 0)
		end(OTHERWISE, "fork: %s", strerror(errno));
	if (!child1) {
		child1_steps();
		_exit(0);
	}
	over(0);
	turn(2);
	reap(child1, 0);
	end(GOOD, "the fault is not there");
}
