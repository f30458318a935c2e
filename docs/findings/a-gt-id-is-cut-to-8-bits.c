// SPDX-License-Identifier: MIT
/*
 * A GT id is cut to 8 bits
 *
 * suites/negative/test_query.py::test_query_engine_cycles_invalid_args[reply.eci.gt_id-high-byte]
 *
 * DEVICE_QUERY ENGINE_CYCLES gives EINVAL for what is no user-visible engine (class, instance or GT)
 * and for a clockid other than REALTIME, MONOTONIC, MONOTONIC_RAW, BOOTTIME and TAI, and EFAULT for
 * data that cannot be read and written. (query.cycles.args;
 * drivers/gpu/drm/xe/xe_query.c:query_engine_cycles,
 * include/uapi/drm/xe_drm.h:drm_xe_query_engine_cycles)
 *
 * Seen: reply.eci.gt_id = 0x100: expected EINVAL, but the call succeeded (mock/bmg2, Linux 7.3)
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

static void map(uint64_t at, uint64_t size, int protection, int flags, int fd, uint64_t offset)
{
	if (mmap((void *)at, size, protection, flags, fd, offset) != (void *)at)
		end(OTHERWISE, "mmap(%#lx, %#lx): %s", (long)at, (long)size, strerror(errno));
}

/* Repeat a pattern over memory. */
static void fill(uint64_t at, uint64_t size, const void *pattern, uint64_t period)
{
	for (uint64_t done = 0; done < size; done += period)
		memcpy((void *)(at + done), pattern, size - done < period ? size - done : period);
}

static uint64_t memory1 = 0x100000605000;
static int fd1;
static const unsigned char bytes1[] = {
	0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};
static const unsigned char bytes2[] = {
	0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};
static const unsigned char bytes3[] = {
	0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
};

int main(int argc, char **argv)
{
	int code;

	fd1 = open_device(argc > 1 ? argv[1] : "/dev/dri/renderD128");
	map(memory1 - 0x1000, 0x3000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
	map(memory1, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	fill(memory1, 0x1000, "\xa5", 1);
	memcpy((void *)(memory1), bytes1, 40);
	struct drm_xe_device_query device_query1 = {
		.query = DRM_XE_DEVICE_QUERY_ENGINE_CYCLES,
		.size = 0x28,
		.data = memory1,
	};
	CALL(fd1, DRM_IOCTL_XE_DEVICE_QUERY, &device_query1, 0);
	fill(memory1, 0x1000, "\xa5", 1);
	memcpy((void *)(memory1), bytes2, 40);
	fill(memory1, 0x1000, "\xa5", 1);
	memcpy((void *)(memory1), bytes3, 40);
	struct drm_xe_device_query device_query2 = {
		.query = DRM_XE_DEVICE_QUERY_ENGINE_CYCLES,
		.size = 0x28,
		.data = memory1,
	};
	code = try_ioctl(fd1, DRM_IOCTL_XE_DEVICE_QUERY, &device_query2);
	/* the test saw 0 */
	if (code != EINVAL)
		end(FAULT, "DRM_IOCTL_XE_DEVICE_QUERY gave errno %d (%s), not EINVAL", code, strerror(code));
	end(GOOD, "the fault is not there");
}
