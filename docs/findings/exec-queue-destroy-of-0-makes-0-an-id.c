// SPDX-License-Identifier: MIT
/*
 * EXEC_QUEUE_DESTROY of 0 makes 0 an id
 *
 * suites/negative/test_queue.py::test_exec_queue_id_zero_is_never_given
 *
 * EXEC_QUEUE_DESTROY with pad or reserved != 0 gives EINVAL, of an unknown id ENOENT; destroying a
 * queue that runs kills its work. (execq.destroy.args;
 * drivers/gpu/drm/xe/xe_exec_queue.c:xe_exec_queue_destroy_ioctl)
 *
 * The exec_queue_id of EXEC_QUEUE_CREATE is never 0; 0 means no queue to VM_BIND and WAIT_USER_FENCE.
 * (execq.create.id-nonzero; drivers/gpu/drm/xe/xe_device.c:xe_file_open,
 * include/uapi/drm/xe_drm.h:drm_xe_vm_bind.exec_queue_id)
 *
 * Seen: assert create_queue(device, plain_vm.id) != 0: 0 != 0 (guest/7.3.4x2, Linux 7.3.4+deb13-amd64)
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
static uint64_t seen;
static uint32_t queue2;

int main(int argc, char **argv)
{
	int code;

	fd1 = open_device(argc > 1 ? argv[1] : "/dev/dri/renderD128");
	struct drm_xe_vm_create vm_create1 = { 0 };
	CALL(fd1, DRM_IOCTL_XE_VM_CREATE, &vm_create1, 0);
	vm1 = vm_create1.vm_id;
	uint64_t instances1[1] = { 0 };
	struct drm_xe_exec_queue_create exec_queue_create1 = {
		.width = 1,
		.num_placements = 1,
		.vm_id = vm1,
		.instances = (uintptr_t)instances1,
	};
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_CREATE, &exec_queue_create1, 0);
	queue1 = exec_queue_create1.exec_queue_id;
	struct drm_xe_exec_queue_destroy exec_queue_destroy1 = { 0 };
	CALL(fd1, DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, &exec_queue_destroy1, ENOENT);
	uint64_t instances2[1] = { 0 };
	struct drm_xe_exec_queue_create exec_queue_create2 = {
		.width = 1,
		.num_placements = 1,
		.vm_id = vm1,
		.instances = (uintptr_t)instances2,
	};
	code = try_ioctl(fd1, DRM_IOCTL_XE_EXEC_QUEUE_CREATE, &exec_queue_create2);
	if (code != 0)
		end(OTHERWISE, "DRM_IOCTL_XE_EXEC_QUEUE_CREATE gave errno %d (%s)", code, strerror(code));
	seen = exec_queue_create2.exec_queue_id;
	/* the test saw 0 */
	if (seen == 0)
		end(FAULT, "%s: %#lx, not != 0", "exec_queue_id", (long)seen);
	queue2 = exec_queue_create2.exec_queue_id;
	end(GOOD, "the fault is not there");
}
