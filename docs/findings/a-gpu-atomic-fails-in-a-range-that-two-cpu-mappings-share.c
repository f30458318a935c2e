// SPDX-License-Identifier: MIT
/*
 * A GPU atomic fails in a range that two CPU mappings share
 *
 * suites/atomic/test_default.py::test_gpu_atomic_in_range_of_two_cpu_mappings
 *
 * With atomic mode UNDEFINED GPU and CPU atomics on mirrored memory have the right result, also with
 * another preferred location. (atomic.default-dgpu;
 * drivers/gpu/drm/xe/xe_vm.c:xe_vma_need_vram_for_atomic,
 * drivers/gpu/drm/xe/xe_svm.c:xe_svm_handle_pagefault, seed 002 patch 02 - correctness requirement)
 *
 * Seen: EIO: DRM_IOCTL_XE_WAIT_USER_FENCE on fd 16: Input/output error (mock/bmg, Linux 7.3)
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

/* The two dwords of an address in a batch. */
#define ADDRESS(address) (uint32_t)(address), (uint32_t)((uint64_t)(address) >> 32)

static uint64_t memory1 = 0x100000a00000;
static uint64_t memory2 = 0x200000380000;
static uint64_t word1;
static uint64_t word2;
static int fd1;
static uint32_t vm1;
static uint32_t queue1;
static uint32_t bo1;
static uint64_t offset1;

int main(int argc, char **argv)
{
	int code;

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
			.timeline_value = 0x86c6d056902d29a2,
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
		.value = 0x86c6d056902d29a2,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
	};
	CALL(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence1, 0);
	SAW(load64((uintptr_t)&word1), 0x86c6d056902d29a2);
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
	map(memory1 - 0x1000, 0x202000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	map(memory1, 0x200000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct drm_xe_gem_create gem_create1 = {
		.size = 0x10000,
		.placement = 1,
		.cpu_caching = DRM_XE_GEM_CPU_CACHING_WB,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_CREATE, &gem_create1, 0);
	bo1 = gem_create1.handle;
	map(memory2, 0x10000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	struct drm_xe_gem_mmap_offset gem_mmap_offset1 = {
		.handle = bo1,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_MMAP_OFFSET, &gem_mmap_offset1, 0);
	offset1 = gem_mmap_offset1.offset;
	map(memory2, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd1, offset1);
	struct drm_xe_sync syncs2[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word2,
			.timeline_value = 0xb16591af2f61402d,
		},
	};
	struct drm_xe_vm_bind vm_bind2 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.obj = bo1,
			.pat_index = 2,
			.range = 0x10000,
			.addr = memory2,
			.flags = DRM_XE_VM_BIND_FLAG_IMMEDIATE,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs2,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind2, 0);
	struct drm_xe_wait_user_fence wait_user_fence2 = {
		.addr = (uintptr_t)&word2,
		.value = 0xb16591af2f61402d,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
	};
	CALL(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence2, 0);
	SAW(load64((uintptr_t)&word2), 0xb16591af2f61402d);
	uint32_t batch1[] = {
		/* MI_STORE_DATA_IMM */ 0x10000002, ADDRESS(memory1), 0x3dced45a,
		/* MI_BATCH_BUFFER_END */ 0x5000000,
	};
	memcpy((void *)(memory2 + 0x1000), batch1, sizeof(batch1));
	store64(memory2, 0);
	struct drm_xe_sync syncs3[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = memory2,
			.timeline_value = 0x9d3dc290264b50e4,
		},
	};
	struct drm_xe_exec exec1 = {
		.exec_queue_id = queue1,
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs3,
		.address = memory2 + 0x1000,
		.num_batch_buffer = 1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC, &exec1, 0);
	struct drm_xe_wait_user_fence wait_user_fence3 = {
		.addr = memory2,
		.value = 0x9d3dc290264b50e4,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
		.exec_queue_id = queue1,
	};
	CALL(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence3, 0);
	SAW(load64(memory2), 0x9d3dc290264b50e4);
	SAW(load32(memory1), 0x3dced45a);
	CHECK(madvise((void *)(memory1 + 0x100000), 0x100000, MADV_DONTFORK), 0);
	uint32_t batch2[] = {
		/* MI_ATOMIC */ 0x17860709, ADDRESS(memory1), 0x6288d1a8, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0,
		/* MI_BATCH_BUFFER_END */ 0x5000000,
	};
	memcpy((void *)(memory2 + 0x1040), batch2, sizeof(batch2));
	store64(memory2 + 0x8, 0);
	struct drm_xe_sync syncs4[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = memory2 + 0x8,
			.timeline_value = 0xa4f4c4fdf1ecc7b4,
		},
	};
	struct drm_xe_exec exec2 = {
		.exec_queue_id = queue1,
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs4,
		.address = memory2 + 0x1040,
		.num_batch_buffer = 1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC, &exec2, 0);
	struct drm_xe_wait_user_fence wait_user_fence4 = {
		.addr = memory2 + 0x8,
		.value = 0xa4f4c4fdf1ecc7b4,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
		.exec_queue_id = queue1,
	};
	code = try_ioctl(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence4);
	/* the test saw EIO */
	if (code != 0)
		end(FAULT, "DRM_IOCTL_XE_WAIT_USER_FENCE gave errno %d (%s), not 0", code, strerror(code));
	end(GOOD, "the fault is not there");
}
