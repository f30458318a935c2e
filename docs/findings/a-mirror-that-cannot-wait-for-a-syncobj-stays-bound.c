// SPDX-License-Identifier: MIT
/*
 * A mirror that cannot wait for a syncobj stays bound
 *
 * suites/bind/test_waiting.py::test_mirror_refused_for_in_syncobj_is_not_bound
 *
 * A mirror MAP that gives EOPNOTSUPP for an in-syncobj does not change the address space.
 * (bind.cam.in-syncobj-no-effect; Documentation/gpu/drm-vm-bind-async.rst:errors reported
 * synchronously, drivers/gpu/drm/xe/xe_vm.c:xe_vm_bind_ioctl,
 * drivers/gpu/drm/xe/xe_vm.c:vm_bind_ioctl_signal_fences)
 *
 * Seen: assert fault_vm.attributes(AT, SZ_64K) == [] (guest/7.3.4x2, Linux 7.3.4+deb13-amd64)
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

static int fd1;
static uint32_t vm1;
static uint32_t syncobj1;

int main(int argc, char **argv)
{
	int code;

	fd1 = open_device(argc > 1 ? argv[1] : "/dev/dri/renderD128");
	struct drm_xe_vm_create vm_create1 = {
		.flags = DRM_XE_VM_CREATE_FLAG_LR_MODE | DRM_XE_VM_CREATE_FLAG_FAULT_MODE,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_CREATE, &vm_create1, 0);
	vm1 = vm_create1.vm_id;
	struct drm_syncobj_create syncobj_create1 = {
		.flags = DRM_SYNCOBJ_CREATE_SIGNALED,
	};
	CALL(fd1, DRM_IOCTL_SYNCOBJ_CREATE, &syncobj_create1, 0);
	syncobj1 = syncobj_create1.handle;
	struct drm_xe_sync syncs1[] = {
		{
			.handle = syncobj1,
		},
	};
	struct drm_xe_vm_bind vm_bind1 = {
		.vm_id = vm1,
		.num_binds = 1,
		.bind = {
			.pat_index = 2,
			.range = 0x10000,
			.addr = 0x1000000000,
			.flags = DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR,
		},
		.num_syncs = 1,
		.syncs = (uintptr_t)syncs1,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_BIND, &vm_bind1, ENOTSUP);
	struct drm_xe_vm_query_mem_range_attr vm_query_mem_range_attrs1 = {
		.vm_id = vm1,
		.start = 0x1000000000,
		.range = 0x10000,
	};
	CALL(fd1, DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, &vm_query_mem_range_attrs1, 0);
	uint64_t vector_of_mem_attr1[8] = { 0 };
	struct drm_xe_vm_query_mem_range_attr vm_query_mem_range_attrs2 = {
		.vm_id = vm1,
		.num_mem_ranges = 1,
		.start = 0x1000000000,
		.range = 0x10000,
		.sizeof_mem_range_attr = 0x40,
		.vector_of_mem_attr = (uintptr_t)vector_of_mem_attr1,
	};
	code = try_ioctl(fd1, DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS, &vm_query_mem_range_attrs2);
	if (code != 0)
		end(GOOD, "DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS gave errno %d (%s)", code, strerror(code));
	/* the test did not accept this answer */
	if (((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs2.vector_of_mem_attr)[0].extensions == 0 && ((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs2.vector_of_mem_attr)[0].start == 0x1000000000 && ((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs2.vector_of_mem_attr)[0].end == 0x1000010000 && ((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs2.vector_of_mem_attr)[0].preferred_mem_loc.devmem_fd == 0 && ((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs2.vector_of_mem_attr)[0].preferred_mem_loc.migration_policy == 0 && ((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs2.vector_of_mem_attr)[0].atomic.val == 0 && ((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs2.vector_of_mem_attr)[0].atomic.reserved == 0 && ((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs2.vector_of_mem_attr)[0].pat_index.val == 2 && ((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs2.vector_of_mem_attr)[0].pat_index.reserved == 0 && ((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs2.vector_of_mem_attr)[0].reserved[0] == 0 && ((struct drm_xe_mem_range_attr *)(uintptr_t)vm_query_mem_range_attrs2.vector_of_mem_attr)[0].reserved[1] == 0)
		end(FAULT, "DRM_IOCTL_XE_VM_QUERY_MEM_RANGE_ATTRS answered as in the test");
	end(GOOD, "the fault is not there");
}
