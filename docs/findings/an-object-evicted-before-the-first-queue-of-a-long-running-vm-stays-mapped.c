// SPDX-License-Identifier: MIT
/*
 * An object evicted before the first queue of a long-running VM stays mapped
 *
 * suites/evict/test_external.py::test_queue_made_after_eviction_reads_bo[long-running-external]
 *
 * A bound BO that is evicted is reached at its GPU addresses in its new place, by existing and by new
 * queues; no access reaches its old memory. (evict.object-stays-reachable;
 * drivers/gpu/drm/xe/xe_bo.c:xe_bo_trigger_rebind, drivers/gpu/drm/xe/xe_vm.c:xe_vm_validate_rebind,
 * drivers/gpu/drm/xe/xe_vm.c:preempt_rebind_work_func)
 *
 * Seen: the GPU sees 0x0 at 0x100000000, not 0xfac6b3d8 (mock/bmg2, Linux 7.3)
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

/* Some parts of a whole, in chunks of 2 MiB. */
static uint64_t part(uint64_t whole, unsigned int parts, unsigned int of)
{
	return whole / of * parts & ~0x1fffffULL;
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

/* The two dwords of an address in a batch. */
#define ADDRESS(address) (uint32_t)(address), (uint32_t)((uint64_t)(address) >> 32)

static uint64_t memory1 = 0x200000200000;
static uint64_t memory2 = 0x200080200000;
static uint64_t memory3 = 0x200100330000;
static uint64_t word1;
static int fd1;
static uint32_t vm1;
static uint64_t vram;
static uint32_t bo1;
static uint64_t offset1;
static uint32_t bo2;
static uint64_t offset2;
static uint32_t queue1;
static uint32_t bo3;
static uint64_t offset3;
static uint64_t seen;

int main(int argc, char **argv)
{
	fd1 = open_device(argc > 1 ? argv[1] : "/dev/dri/renderD128");
	claims(fd1, DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM);
	struct drm_xe_vm_create vm_create1 = {
		.flags = DRM_XE_VM_CREATE_FLAG_LR_MODE,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_CREATE, &vm_create1, 0);
	vm1 = vm_create1.vm_id;
	struct drm_xe_device_query device_query1 = {
		.query = DRM_XE_DEVICE_QUERY_MEM_REGIONS,
	};
	CALL(fd1, DRM_IOCTL_XE_DEVICE_QUERY, &device_query1, 0);
	uint64_t data1[23] = { 0 };
	struct drm_xe_device_query device_query2 = {
		.query = DRM_XE_DEVICE_QUERY_MEM_REGIONS,
		.size = 0xb8,
		.data = (uintptr_t)data1,
	};
	CALL(fd1, DRM_IOCTL_XE_DEVICE_QUERY, &device_query2, 0);
	vram = ((struct drm_xe_query_mem_regions *)(uintptr_t)device_query2.data)[0].mem_regions[1].total_size;
	if (vram < 0x10000000)
		end(UNKNOWN, "the device has less VRAM than the one of the test");
	struct drm_xe_gem_create gem_create1 = {
		.size = part(vram, 5, 8),
		.placement = 3,
		.cpu_caching = DRM_XE_GEM_CPU_CACHING_WC,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_CREATE, &gem_create1, 0);
	bo1 = gem_create1.handle;
	struct drm_xe_gem_mmap_offset gem_mmap_offset1 = {
		.handle = bo1,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_MMAP_OFFSET, &gem_mmap_offset1, 0);
	offset1 = gem_mmap_offset1.offset;
	map(memory1, 0xa000000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd1, offset1);
	store32(memory1, 0xfac6b3d8);
	store32(memory1 + 0x1400000, 0xe04622a0);
	store32(memory1 + 0x2800000, 0xf9243a3e);
	store32(memory1 + 0x3c00000, 0x4d10ab19);
	store32(memory1 + 0x5000000, 0xd73374d0);
	store32(memory1 + 0x6400000, 0x73c41a4d);
	store32(memory1 + 0x7800000, 0x3d018e33);
	store32(memory1 + 0x8c00000, 0x9f86dd8f);
	struct drm_xe_sync syncs1[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word1,
			.timeline_value = 0xb633a4cdd13402b0,
		},
	};
	struct drm_xe_vm_bind vm_bind1 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.obj = bo1,
			.pat_index = 2,
			.range = part(vram, 5, 8),
			.addr = 0x100000000,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs1,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind1, 0);
	struct drm_xe_wait_user_fence wait_user_fence1 = {
		.addr = (uintptr_t)&word1,
		.value = 0xb633a4cdd13402b0,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
	};
	CALL(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence1, 0);
	SAW(load64((uintptr_t)&word1), 0xb633a4cdd13402b0);
	struct drm_xe_gem_create gem_create2 = {
		.size = part(vram, 5, 8),
		.placement = 2,
		.cpu_caching = DRM_XE_GEM_CPU_CACHING_WC,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_CREATE, &gem_create2, 0);
	bo2 = gem_create2.handle;
	struct drm_xe_gem_mmap_offset gem_mmap_offset2 = {
		.handle = bo2,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_MMAP_OFFSET, &gem_mmap_offset2, 0);
	offset2 = gem_mmap_offset2.offset;
	map(memory2, 0xa000000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd1, offset2);
	store32(memory2, 0x2fdad2db);
	store32(memory2 + 0x1400000, 0x3f35070a);
	store32(memory2 + 0x2800000, 0xfc516ed5);
	store32(memory2 + 0x3c00000, 0x3a1d34db);
	store32(memory2 + 0x5000000, 0x34cf4cd8);
	store32(memory2 + 0x6400000, 0x6f1cc1cb);
	store32(memory2 + 0x7800000, 0x35919aa2);
	store32(memory2 + 0x8c00000, 0x20821083);
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
	map(memory3, 0x10000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	struct drm_xe_gem_mmap_offset gem_mmap_offset3 = {
		.handle = bo3,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_MMAP_OFFSET, &gem_mmap_offset3, 0);
	offset3 = gem_mmap_offset3.offset;
	map(memory3, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd1, offset3);
	struct drm_xe_sync syncs2[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word1,
			.timeline_value = 0xb425fc47bb85f8c8,
		},
	};
	struct drm_xe_vm_bind vm_bind2 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.obj = bo3,
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
		.addr = (uintptr_t)&word1,
		.value = 0xb425fc47bb85f8c8,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
	};
	CALL(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence2, 0);
	SAW(load64((uintptr_t)&word1), 0xb425fc47bb85f8c8);
	store32(memory3 + 0xfc0, 0x7592d4c3);
	store32(memory3 + 0xfc4, 0xb2e754e0);
	store32(memory3 + 0xfc8, 0x3e1b4d86);
	store32(memory3 + 0xfcc, 0x37ef8b8a);
	store32(memory3 + 0xfd0, 0x5b8f4dda);
	store32(memory3 + 0xfd4, 0xa5cd66ed);
	store32(memory3 + 0xfd8, 0x3b9296e8);
	store32(memory3 + 0xfdc, 0xe75a397e);
	uint32_t batch1[] = {
		/* MI_COPY_MEM_MEM */ 0x17000003, ADDRESS(memory3 + 0xfc0), 0x0, 0x1,
		/* MI_COPY_MEM_MEM */ 0x17000003, ADDRESS(memory3 + 0xfc4), 0x1400000, 0x1,
		/* MI_COPY_MEM_MEM */ 0x17000003, ADDRESS(memory3 + 0xfc8), 0x2800000, 0x1,
		/* MI_COPY_MEM_MEM */ 0x17000003, ADDRESS(memory3 + 0xfcc), 0x3c00000, 0x1,
		/* MI_COPY_MEM_MEM */ 0x17000003, ADDRESS(memory3 + 0xfd0), 0x5000000, 0x1,
		/* MI_COPY_MEM_MEM */ 0x17000003, ADDRESS(memory3 + 0xfd4), 0x6400000, 0x1,
		/* MI_COPY_MEM_MEM */ 0x17000003, ADDRESS(memory3 + 0xfd8), 0x7800000, 0x1,
		/* MI_COPY_MEM_MEM */ 0x17000003, ADDRESS(memory3 + 0xfdc), 0x8c00000, 0x1,
		/* MI_BATCH_BUFFER_END */ 0x5000000,
	};
	memcpy((void *)(memory3 + 0x1000), batch1, sizeof(batch1));
	store64(memory3, 0);
	struct drm_xe_sync syncs3[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = memory3,
			.timeline_value = 0xada5f8e1e99c5e03,
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
		.value = 0xada5f8e1e99c5e03,
		.mask = 0xffffffffffffffff,
		.timeout = 0x12a05f200,
		.exec_queue_id = queue1,
	};
	CALL(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence3, 0);
	SAW(load64(memory3), 0xada5f8e1e99c5e03);
	seen = load32(memory3 + 0xfc0);
	/* the test saw 0 */
	if (seen != 0xfac6b3d8)
		end(FAULT, "%s: %#lx, not 0xfac6b3d8", "32 bits at memory3 + 0xfc0", (long)seen);
	SAW(load32(memory3 + 0xfc4), 0);
	SAW(load32(memory3 + 0xfc8), 0);
	SAW(load32(memory3 + 0xfcc), 0);
	SAW(load32(memory3 + 0xfd0), 0);
	SAW(load32(memory3 + 0xfd4), 0);
	SAW(load32(memory3 + 0xfd8), 0);
	SAW(load32(memory3 + 0xfdc), 0);
	end(GOOD, "the fault is not there");
}
