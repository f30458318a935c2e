// SPDX-License-Identifier: MIT
/*
 * A GT id is cut to 8 bits
 *
 * suites/negative/test_queue.py::test_exec_queue_create_invalid_args[engine.gt_id-high-byte]
 *
 * EXEC_QUEUE_CREATE with unknown flags, reserved != 0, width times placements 0 or beyond the limit,
 * an unknown GT, an unknown or reserved engine, mixed classes or GTs, or parallel placements that are
 * not contiguous gives EINVAL. (execq.create.args;
 * drivers/gpu/drm/xe/xe_exec_queue.c:xe_exec_queue_create_ioctl,
 * drivers/gpu/drm/xe/xe_exec_queue.c:calc_validate_logical_mask)
 *
 * Seen: engine.gt_id = 0x100: expected EINVAL, but the call succeeded (guest/7.3.4x2, Linux
 * 7.3.4+deb13-amd64)
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
static uint32_t queue1;
static uint32_t queue2;

int main(int argc, char **argv)
{
	int code;

	fd1 = open_device(argc > 1 ? argv[1] : "/dev/dri/renderD128");
	struct drm_xe_vm_create vm_create1 = { 0 };
	CALL(fd1, DRM_IOCTL_XE_VM_CREATE, &vm_create1, 0);
	vm1 = vm_create1.vm_id;
	struct drm_xe_exec_queue_get_property exec_queue_get_property1 = { 0 };
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property1, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property2 = {
		.exec_queue_id = 1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property2, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property3 = {
		.exec_queue_id = 2,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property3, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property4 = {
		.exec_queue_id = 3,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property4, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property5 = {
		.exec_queue_id = 4,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property5, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property6 = {
		.exec_queue_id = 5,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property6, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property7 = {
		.exec_queue_id = 6,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property7, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property8 = {
		.exec_queue_id = 7,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property8, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property9 = {
		.exec_queue_id = 8,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property9, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property10 = {
		.exec_queue_id = 9,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property10, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property11 = {
		.exec_queue_id = 0xa,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property11, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property12 = {
		.exec_queue_id = 0xb,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property12, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property13 = {
		.exec_queue_id = 0xc,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property13, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property14 = {
		.exec_queue_id = 0xd,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property14, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property15 = {
		.exec_queue_id = 0xe,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property15, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property16 = {
		.exec_queue_id = 0xf,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property16, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property17 = {
		.exec_queue_id = 0x10,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property17, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property18 = {
		.exec_queue_id = 0x11,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property18, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property19 = {
		.exec_queue_id = 0x12,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property19, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property20 = {
		.exec_queue_id = 0x13,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property20, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property21 = {
		.exec_queue_id = 0x14,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property21, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property22 = {
		.exec_queue_id = 0x15,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property22, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property23 = {
		.exec_queue_id = 0x16,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property23, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property24 = {
		.exec_queue_id = 0x17,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property24, ENOENT);
	struct drm_xe_ext_set_property extension1 = {
		.value = 1,
	};
	struct drm_xe_engine_class_instance instances1[] = {
		{
			.engine_class = DRM_XE_ENGINE_CLASS_COPY,
		},
	};
	struct drm_xe_exec_queue_create exec_queue_create1 = {
		.extensions = (uintptr_t)&extension1,
		.width = 1,
		.num_placements = 1,
		.vm_id = vm1,
		.instances = (uintptr_t)instances1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_CREATE, &exec_queue_create1, 0);
	queue1 = exec_queue_create1.exec_queue_id;
	struct drm_xe_exec_queue_get_property exec_queue_get_property25 = { 0 };
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property25, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property26 = {
		.exec_queue_id = queue1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property26, 0);
	struct drm_xe_exec_queue_get_property exec_queue_get_property27 = {
		.exec_queue_id = 2,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property27, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property28 = {
		.exec_queue_id = 3,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property28, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property29 = {
		.exec_queue_id = 4,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property29, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property30 = {
		.exec_queue_id = 5,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property30, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property31 = {
		.exec_queue_id = 6,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property31, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property32 = {
		.exec_queue_id = 7,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property32, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property33 = {
		.exec_queue_id = 8,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property33, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property34 = {
		.exec_queue_id = 9,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property34, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property35 = {
		.exec_queue_id = 0xa,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property35, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property36 = {
		.exec_queue_id = 0xb,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property36, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property37 = {
		.exec_queue_id = 0xc,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property37, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property38 = {
		.exec_queue_id = 0xd,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property38, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property39 = {
		.exec_queue_id = 0xe,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property39, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property40 = {
		.exec_queue_id = 0xf,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property40, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property41 = {
		.exec_queue_id = 0x10,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property41, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property42 = {
		.exec_queue_id = 0x11,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property42, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property43 = {
		.exec_queue_id = 0x12,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property43, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property44 = {
		.exec_queue_id = 0x13,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property44, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property45 = {
		.exec_queue_id = 0x14,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property45, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property46 = {
		.exec_queue_id = 0x15,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property46, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property47 = {
		.exec_queue_id = 0x16,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property47, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property48 = {
		.exec_queue_id = 0x17,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property48, ENOENT);
	struct drm_xe_exec_queue_destroy exec_queue_destroy1 = {
		.exec_queue_id = queue1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, &exec_queue_destroy1, 0);
	struct drm_xe_exec_queue_get_property exec_queue_get_property49 = { 0 };
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property49, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property50 = {
		.exec_queue_id = queue1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property50, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property51 = {
		.exec_queue_id = 2,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property51, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property52 = {
		.exec_queue_id = 3,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property52, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property53 = {
		.exec_queue_id = 4,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property53, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property54 = {
		.exec_queue_id = 5,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property54, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property55 = {
		.exec_queue_id = 6,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property55, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property56 = {
		.exec_queue_id = 7,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property56, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property57 = {
		.exec_queue_id = 8,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property57, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property58 = {
		.exec_queue_id = 9,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property58, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property59 = {
		.exec_queue_id = 0xa,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property59, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property60 = {
		.exec_queue_id = 0xb,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property60, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property61 = {
		.exec_queue_id = 0xc,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property61, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property62 = {
		.exec_queue_id = 0xd,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property62, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property63 = {
		.exec_queue_id = 0xe,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property63, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property64 = {
		.exec_queue_id = 0xf,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property64, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property65 = {
		.exec_queue_id = 0x10,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property65, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property66 = {
		.exec_queue_id = 0x11,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property66, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property67 = {
		.exec_queue_id = 0x12,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property67, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property68 = {
		.exec_queue_id = 0x13,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property68, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property69 = {
		.exec_queue_id = 0x14,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property69, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property70 = {
		.exec_queue_id = 0x15,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property70, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property71 = {
		.exec_queue_id = 0x16,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property71, ENOENT);
	struct drm_xe_exec_queue_get_property exec_queue_get_property72 = {
		.exec_queue_id = 0x17,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &exec_queue_get_property72, ENOENT);
	struct drm_xe_ext_set_property extension2 = {
		.value = 1,
	};
	struct drm_xe_engine_class_instance instances2[] = {
		{
			.engine_class = DRM_XE_ENGINE_CLASS_COPY,
			.gt_id = 0x100,
		},
	};
	struct drm_xe_exec_queue_create exec_queue_create2 = {
		.extensions = (uintptr_t)&extension2,
		.width = 1,
		.num_placements = 1,
		.vm_id = vm1,
		.instances = (uintptr_t)instances2,
	};
	code = try_ioctl(fd1, DRM_IOCTL_XE_EXEC_QUEUE_CREATE, &exec_queue_create2);
	/* the test saw 0 */
	if (code != EINVAL)
		end(FAULT, "DRM_IOCTL_XE_EXEC_QUEUE_CREATE gave errno %d (%s), not EINVAL", code, strerror(code));
	queue2 = exec_queue_create2.exec_queue_id;
	end(GOOD, "the fault is not there");
}
