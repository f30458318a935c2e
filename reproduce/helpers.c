/* SPDX-License-Identifier: MIT */
/*
 * The functions that programs of svmcts reproduce are made of; a program gets those that it uses.
 *
 * A part begins with a line of its name and the headers that it needs (reproduce/helpers.py).
 */

//// end: stdarg.h stdio.h stdlib.h unistd.h
enum { GOOD = 0, FAULT = 1, OTHERWISE = 2, UNKNOWN = 77 };

/* Whether a step ended as it did not in the test: what comes after it may be right all the same, but is no fault. */
static int astray;

/* What is to be done before the program ends, if anything. */
static void (*undo)(void);

__attribute__((noreturn, format(printf, 2, 3))) static void end(int status, const char *why, ...)
{
	va_list values;

	if (astray && status == FAULT)
		status = OTHERWISE;
	va_start(values, why);
	vfprintf(stderr, why, values);
	va_end(values);
	fputc('\n', stderr);
	if (undo)
		undo();
	_exit(status);
}

//// deadline: time.h
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

//// turn: time.h unistd.h sys/mman.h sys/wait.h signal.h
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

//// open_device: errno.h fcntl.h string.h
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

//// try_ioctl: errno.h sys/ioctl.h
/* The errno of an ioctl, 0 for success. */
static int try_ioctl(int fd, unsigned long request, void *argument)
{
	return ioctl(fd, request, argument) < 0 ? errno : 0;
}

//// call: errno.h string.h
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

//// waited: errno.h string.h
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

//// claims: stdint.h
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

//// small_bar: stdint.h
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

//// uncleared: errno.h fcntl.h sched.h string.h unistd.h
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

//// map: errno.h stdint.h string.h sys/mman.h
static void map(uint64_t at, uint64_t size, int protection, int flags, int fd, uint64_t offset)
{
	if (mmap((void *)at, size, protection, flags, fd, offset) != (void *)at)
		end(OTHERWISE, "mmap(%#lx, %#lx): %s", (long)at, (long)size, strerror(errno));
}

//// part: stdint.h
/* Some parts of a whole, in chunks of 2 MiB. */
static uint64_t part(uint64_t whole, unsigned int parts, unsigned int of)
{
	return whole / of * parts & ~0x1fffffULL;
}

//// check: errno.h string.h
/* A system call that has to give this errno, 0 for success. */
static void check(int line, const char *what, int result, int expected)
{
	int code = result ? errno : 0;

	if (code != expected)
		end(OTHERWISE, "line %d: %s: errno %d (%s), not %d", line, what, code, strerror(code), expected);
}

#define CHECK(call, expected) check(__LINE__, #call, (call) ? -1 : 0, expected)

//// file_of: errno.h stdint.h string.h sys/mman.h unistd.h
static int file_of(uint64_t size)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, size))
		end(OTHERWISE, "memfd_create: %s", strerror(errno));
	return fd;
}

//// store: stdint.h
static void store32(uint64_t at, uint32_t value)
{
	*(volatile uint32_t *)at = value;
}

static void store64(uint64_t at, uint64_t value)
{
	*(volatile uint64_t *)at = value;
}

//// load: stdint.h
static uint32_t load32(uint64_t at)
{
	return *(volatile uint32_t *)at;
}

static uint64_t load64(uint64_t at)
{
	return *(volatile uint64_t *)at;
}

//// saw: stdint.h stdio.h
/* What the test saw here without a complaint. */
static void saw(int line, uint64_t value, uint64_t was)
{
	if (value != was)
		fprintf(stderr, "line %d: %#lx, was %#lx in the test\n", line, (long)value, (long)was);
}

#define SAW(value, was) saw(__LINE__, value, was)

//// fill: stdint.h string.h
/* Repeat a pattern over memory. */
static void fill(uint64_t at, uint64_t size, const void *pattern, uint64_t period)
{
	for (uint64_t done = 0; done < size; done += period)
		memcpy((void *)(at + done), pattern, size - done < period ? size - done : period);
}

//// touch: stdint.h
/* Load all of it. */
static void touch(uint64_t at, uint64_t size)
{
	for (uint64_t done = 0; done < size; done++)
		(void)*(volatile uint8_t *)(at + done);
}

//// differs: stdint.h
/* The offset of the first byte that is not that of a repeated pattern; -1 if there is none. */
static long differs(uint64_t at, uint64_t size, const void *pattern, uint64_t period)
{
	for (uint64_t done = 0; done < size; done++)
		if (*(volatile uint8_t *)(at + done) != ((const uint8_t *)pattern)[done % period])
			return done;
	return -1;
}

//// present: errno.h fcntl.h stdint.h string.h unistd.h
/* Whether a page is in system memory and mapped. */
static int present(uint64_t at)
{
	uint64_t entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &entry, 8, at / 4096 * 8) != 8)
		end(UNKNOWN, "/proc/self/pagemap: %s", strerror(errno));
	close(fd);
	return entry >> 63;
}

//// put: errno.h fcntl.h stdio.h string.h unistd.h
static struct {
	const char *path;
	char text[256];
} changed[32];
static int changes;

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	int code = fd < 0 || write(fd, text, strlen(text)) < 0 ? errno : 0;

	close(fd);
	return code;
}

static void restore(void)
{
	while (changes-- > 0)
		write_file(changed[changes].path, changed[changes].text);
}

/* Keep what a file of sysfs or debugfs has: of several words the one in brackets. */
static void keep(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = changed[changes].text;
	ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(changed->text) - 1);

	close(fd);
	for (int i = 0; i < changes; i++)
		if (!strcmp(changed[i].path, path))
			return;
	if (size < 0 || changes + 1 == sizeof(changed) / sizeof(*changed))
		return;
	text[size] = 0;
	if (strchr(text, '[') && strchr(text, ']')) {
		memmove(text, strchr(text, '[') + 1, strlen(strchr(text, '[')));
		*strchr(text, ']') = 0;
	} else if (!size) {
		strcpy(text, "\n");
	}
	changed[changes++].path = path;
	undo = restore;
}

/* Write a word to a file of sysfs or debugfs; at the end it gets back what it had. */
static void put(const char *path, const char *text)
{
	int code;

	keep(path);
	code = write_file(path, text);
	if (code == ENOENT || code == EACCES || code == EPERM)
		end(UNKNOWN, "%s: %s", path, strerror(code));
	if (code)
		fprintf(stderr, "%s: %s\n", path, strerror(code));
}

//// get: errno.h fcntl.h stdio.h string.h unistd.h
/* Read a byte of a file of debugfs, which makes the driver act. */
static void get(const char *path)
{
	char byte;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		end(UNKNOWN, "%s: %s", path, strerror(errno));
	if (read(fd, &byte, 1) < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	close(fd);
}

//// counter: errno.h stdio.h string.h sys/stat.h sys/sysmacros.h
/* A counter of debugfs, summed over the GTs of a device, or that of one. */
static long long counter(int fd, int gt, const char *name)
{
	long long sum = 0, value;
	int known = 0;
	struct stat about;
	char path[128], line[256];

	if (fstat(fd, &about))
		end(UNKNOWN, "fstat: %s", strerror(errno));
	for (int number = 0; number < 8; number++) {
		FILE *file;

		if (gt >= 0 && gt != number)
			continue;
		snprintf(path, sizeof(path), "/sys/kernel/debug/dri/%u/gt%d/stats",
			 minor(about.st_rdev) ? minor(about.st_rdev) : 128, number);
		file = fopen(path, "r");
		if (!file)
			continue;
		while (fgets(line, sizeof(line), file)) {
			char *colon = strchr(line, ':'), *start = line + strspn(line, " \t");

			if (colon && (size_t)(colon - start) == strlen(name) && !strncmp(start, name, colon - start) &&
			    sscanf(colon + 1, "%lld", &value) == 1) {
				sum += value;
				known = 1;
			}
		}
		fclose(file);
	}
	if (!known)
		end(UNKNOWN, "debugfs has no counter %s", name);
	return sum;
}

//// reap: errno.h string.h sys/types.h sys/wait.h unistd.h
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

//// watch_log: errno.h fcntl.h string.h unistd.h
static int kernel_log;

/* Skip what the kernel has said before. */
static void watch_log(void)
{
	kernel_log = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (kernel_log < 0)
		end(UNKNOWN, "/dev/kmsg: %s", strerror(errno));
	lseek(kernel_log, 0, SEEK_END);
}

//// complained: string.h unistd.h
/* Wait that many nanoseconds for a message of the kernel that has both: this is the fault. */
static void complained(const char *kind, const char *words, long long nanoseconds)
{
	long long by = deadline(nanoseconds);
	char record[8193];

	for (;;) {
		ssize_t size = read(kernel_log, record, sizeof(record) - 1);
		const char *text;

		if (size <= 0) {
			if (now() > by)
				return;
			usleep(1000);
			continue;
		}
		record[size] = 0;
		text = strchr(record, ';');
		if (text && strstr(text, kind) && strstr(text, words))
			end(FAULT, "the kernel said: %.*s", (int)strcspn(text + 1, "\n"), text + 1);
	}
}

//// ADDRESS: stdint.h
/* The two dwords of an address in a batch. */
#define ADDRESS(address) (uint32_t)(address), (uint32_t)((uint64_t)(address) >> 32)
