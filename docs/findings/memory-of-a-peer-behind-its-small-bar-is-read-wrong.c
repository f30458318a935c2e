// SPDX-License-Identifier: MIT
/*
 * Memory of a peer behind its small BAR is read wrong
 *
 * suites/p2p/test_access.py::test_memory_behind_small_bar_is_read_right
 *
 * Access to a peer with a small BAR fails or falls back, and never reads wrong data. (p2p.small-bar;
 * drivers/gpu/drm/xe/xe_svm.c:xe_page_to_pcie)
 *
 * Seen: the GPU sees 0xffffffff at 0x100000a00000, not 0xc96f9722 (guest/7.3.4x2, Linux
 * 7.3.4+deb13-amd64)
 *
 * cc -Wall -Wextra -o repro repro.c && ./repro [/dev/dri/renderD128] [/dev/dri/renderD129]
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

/* Whether the CPU reaches only a part of the device's VRAM; without that it cannot show the fault. */
static void small_bar(int fd)
{
	uint64_t reply[512] = { 0 };
	struct drm_xe_query_mem_regions *regions = (void *)reply;
	struct drm_xe_device_query query = { .query = DRM_XE_DEVICE_QUERY_MEM_REGIONS };

	CALL(fd, DRM_IOCTL_XE_DEVICE_QUERY, &query, 0);
	if (query.size > sizeof(reply))
		end(UNKNOWN, "the device has more memory regions than this program has room for");
	query.data = (uintptr_t)reply;
	CALL(fd, DRM_IOCTL_XE_DEVICE_QUERY, &query, 0);
	for (uint32_t i = 0; i < regions->num_mem_regions; i++)
		if (regions->mem_regions[i].mem_class == DRM_XE_MEM_REGION_CLASS_VRAM &&
		    regions->mem_regions[i].cpu_visible_size < regions->mem_regions[i].total_size)
			return;
	end(UNKNOWN, "the CPU reaches all of the device's VRAM");
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

static uint64_t memory1 = 0x100000a00000;
static uint64_t memory2 = 0x2000003e0000;
static uint64_t word1;
static uint64_t word2;
static int fd1;
static int fd2;
static uint32_t vm1;
static uint32_t vm2;
static uint32_t size1;
static uint64_t vram;
static uint32_t bo1;
static uint32_t queue1;
static uint32_t bo2;
static uint64_t offset1;
static uint64_t seen;

int main(int argc, char **argv)
{
	(void)argc;
	nodes = argv;
	fd1 = open_device(1, "/dev/dri/renderD128");
	claims(fd1, DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM);
	small_bar(fd1);
	fd2 = open_device(2, "/dev/dri/renderD129");
	struct drm_xe_vm_create vm_create1 = {
		.flags = DRM_XE_VM_CREATE_FLAG_LR_MODE | DRM_XE_VM_CREATE_FLAG_FAULT_MODE,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_CREATE, &vm_create1, 0);
	vm1 = vm_create1.vm_id;
	struct drm_xe_vm_create vm_create2 = {
		.flags = DRM_XE_VM_CREATE_FLAG_LR_MODE | DRM_XE_VM_CREATE_FLAG_FAULT_MODE,
	};
	CALL(fd2, DRM_IOCTL_XE_VM_CREATE, &vm_create2, 0);
	vm2 = vm_create2.vm_id;
	struct drm_xe_sync syncs1[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word1,
			.timeline_value = 0x8fa06421faefb612,
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
		.value = 0x8fa06421faefb612,
		.mask = 0xffffffffffffffff,
		.timeout = 0x8d8f9fc00,
	};
	WAIT(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence1, 0);
	SAW(load64((uintptr_t)&word1), 0x8fa06421faefb612);
	struct drm_xe_sync syncs2[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word1,
			.timeline_value = 0x8534ce0eb1d3e623,
		},
	};
	struct drm_xe_vm_bind vm_bind2 = {
		.vm_id = vm2,
		.num_binds = 1,
		.bind = {
			.pat_index = 2,
			.range = 0x1000000000000,
			.flags = DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs2,
	};
	CALL(fd2, DRM_IOCTL_XE_VM_BIND, &vm_bind2, 0);
	struct drm_xe_wait_user_fence wait_user_fence2 = {
		.addr = (uintptr_t)&word1,
		.value = 0x8534ce0eb1d3e623,
		.mask = 0xffffffffffffffff,
		.timeout = 0x8d8f9fc00,
	};
	WAIT(fd2, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence2, 0);
	SAW(load64((uintptr_t)&word1), 0x8534ce0eb1d3e623);
	struct drm_xe_device_query device_query1 = {
		.query = DRM_XE_DEVICE_QUERY_MEM_REGIONS,
	};
	CALL(fd2, DRM_IOCTL_XE_DEVICE_QUERY, &device_query1, 0);
	size1 = device_query1.size;
	uint64_t data1[512] = { 0 };
	if (size1 > sizeof(data1))
		end(UNKNOWN, "the device has more to answer than the one of the test");
	struct drm_xe_device_query device_query2 = {
		.query = DRM_XE_DEVICE_QUERY_MEM_REGIONS,
		.size = size1,
		.data = (uintptr_t)data1,
	};
	CALL(fd2, DRM_IOCTL_XE_DEVICE_QUERY, &device_query2, 0);
	vram = ((struct drm_xe_query_mem_regions *)(uintptr_t)device_query2.data)[0].mem_regions[1].total_size;
	if (vram < 0x20000000)
		end(UNKNOWN, "the device has less VRAM than the one of the test");
	struct drm_xe_gem_create gem_create1 = {
		.size = part(vram, 3, 6),
		.placement = 2,
		.cpu_caching = DRM_XE_GEM_CPU_CACHING_WC,
	};
	CALL(fd2, DRM_IOCTL_XE_GEM_CREATE, &gem_create1, 0);
	bo1 = gem_create1.handle;
	map(memory1 - 0x1000, 0x1002000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	map(memory1, 0x1000000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	store32(memory1, 0xc96f9722);
	store32(memory1 + 0x200000, 0x712ba8ce);
	store32(memory1 + 0x400000, 0x39a1780);
	store32(memory1 + 0x600000, 0x72b2f0dc);
	store32(memory1 + 0x800000, 0xe75fff53);
	store32(memory1 + 0xa00000, 0xb2595946);
	store32(memory1 + 0xc00000, 0x7c4eabb2);
	store32(memory1 + 0xe00000, 0x9544112f);
	struct drm_xe_madvise madvise1 = {
		.start = memory1,
		.range = 0x1000000,
		.vm_id = vm1,
		.preferred_mem_loc = {
			.devmem_fd = fd2,
			.region_instance = 1,
		},
	};
	CALL(fd1, DRM_IOCTL_XE_MADVISE, &madvise1, 0);
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
	struct drm_xe_gem_create gem_create2 = {
		.size = 0x10000,
		.placement = 1,
		.cpu_caching = DRM_XE_GEM_CPU_CACHING_WB,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_CREATE, &gem_create2, 0);
	bo2 = gem_create2.handle;
	map(memory2, 0x10000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	struct drm_xe_gem_mmap_offset gem_mmap_offset1 = {
		.handle = bo2,
	};
	CALL(fd1, DRM_IOCTL_XE_GEM_MMAP_OFFSET, &gem_mmap_offset1, 0);
	offset1 = gem_mmap_offset1.offset;
	map(memory2, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd1, offset1);
	struct drm_xe_sync syncs3[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = (uintptr_t)&word2,
			.timeline_value = 0x9b2c783a3b9245cb,
		},
	};
	struct drm_xe_vm_bind vm_bind3 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.obj = bo2,
			.pat_index = 2,
			.range = 0x10000,
			.addr = memory2,
			.flags = DRM_XE_VM_BIND_FLAG_IMMEDIATE,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs3,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind3, 0);
	struct drm_xe_wait_user_fence wait_user_fence3 = {
		.addr = (uintptr_t)&word2,
		.value = 0x9b2c783a3b9245cb,
		.mask = 0xffffffffffffffff,
		.timeout = 0x8d8f9fc00,
	};
	WAIT(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence3, 0);
	SAW(load64((uintptr_t)&word2), 0x9b2c783a3b9245cb);
	store32(memory2 + 0xfc0, 0xe7bdb4da);
	uint32_t batch1[] = {
		/* MI_COPY_MEM_MEM */ 0x17000003, ADDRESS(memory2 + 0xfc0), ADDRESS(memory1),
		/* MI_BATCH_BUFFER_END */ 0x5000000,
	};
	memcpy((void *)(memory2 + 0x1000), batch1, sizeof(batch1));
	store64(memory2, 0);
	struct drm_xe_sync syncs4[] = {
		{
			.type = DRM_XE_SYNC_TYPE_USER_FENCE,
			.flags = DRM_XE_SYNC_FLAG_SIGNAL,
			.addr = memory2,
			.timeline_value = 0x81633db64aeabb93,
		},
	};
	struct drm_xe_exec exec1 = {
		.exec_queue_id = queue1,
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs4,
		.address = memory2 + 0x1000,
		.num_batch_buffer = 1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC, &exec1, 0);
	struct drm_xe_wait_user_fence wait_user_fence4 = {
		.addr = memory2,
		.value = 0x81633db64aeabb93,
		.mask = 0xffffffffffffffff,
		.timeout = 0x8d8f9fc00,
		.exec_queue_id = queue1,
	};
	WAIT(fd1, DRM_IOCTL_XE_WAIT_USER_FENCE, &wait_user_fence4, 0);
	SAW(load64(memory2), 0x81633db64aeabb93);
	seen = load32(memory2 + 0xfc0);
	/* the test saw 0xffffffff */
	if (seen != 0xc96f9722)
		end(FAULT, "%s: %#lx, not 0xc96f9722", "32 bits at memory2 + 0xfc0", (long)seen);
	end(GOOD, "the fault is not there");
}
