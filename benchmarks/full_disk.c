/* A disk that is full from the n-th write on, below one folder, for every library of a process (LD_PRELOAD).
   A write is whatever needs room: write, pwrite, writev, a new file, folder, link or name, and fallocate, fsync.
   The n-th write itself stores half of what it was given. full_arm(folder, n, log): n = 0 only notes each write in the log. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long at = 0;
static int armed = 0, note = -1;
static atomic_long seen;

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)

static ssize_t put(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return real(fd, data, size);
}

void full_arm(const char *below, long number, const char *log) {
    snprintf(folder, sizeof folder, "%s", below);
    at = number;
    atomic_store(&seen, 0);
    note = log && *log ? open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : -1;
    armed = 1;
}

/* 0: let it be; 1: half of it; 2: no room */
static int room(const char *what, const char *path) {
    char line[PATH_MAX + 64];
    long number;
    if (!armed || strncmp(path, folder, strlen(folder))) return 0;
    number = atomic_fetch_add(&seen, 1) + 1;
    if (note >= 0) put(note, line, snprintf(line, sizeof line, "%ld %s %s\n", number, what, path));
    return at && number >= at ? (number == at ? 1 : 2) : 0;
}

static int room_of(const char *what, int fd) {
    char link[64], path[PATH_MAX];
    ssize_t size;
    if (!armed || fd == note) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return room(what, path);
}

/* of a path as it was given, which may be relative to the process's folder */
static int room_at(const char *what, int base, const char *path) {
    char whole[PATH_MAX * 2];
    if (!armed || !path) return 0;
    if (path[0] == '/') return room(what, path);
    if (base != AT_FDCWD || !getcwd(whole, PATH_MAX)) return 0;
    strncat(whole, "/", 2);
    strncat(whole, path, PATH_MAX - 1);
    return room(what, whole);
}

#define NONE do { errno = ENOSPC; return -1; } while (0)

ssize_t write(int fd, const void *data, size_t size) {
    int left = room_of("write", fd);
    if (left == 2 || (left == 1 && size < 2)) NONE;
    return put(fd, data, left ? size / 2 : size);
}

#define PWRITE(name, kind) ssize_t name(int fd, const void *data, size_t size, kind offset) { \
    REAL(ssize_t, #name, int, const void *, size_t, kind); \
    int left = room_of("pwrite", fd); \
    if (left == 2 || (left == 1 && size < 2)) NONE; \
    return real(fd, data, left ? size / 2 : size, offset); }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    if (room_of("writev", fd)) NONE;
    return real(fd, parts, count);
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    if (room_of("fsync", fd)) NONE;
    return real(fd);
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    if (room_of("fsync", fd)) NONE;
    return real(fd);
}

int posix_fallocate(int fd, off_t from, off_t size) {
    REAL(int, "posix_fallocate", int, off_t, off_t);
    if (room_of("fallocate", fd)) return ENOSPC;
    return real(fd, from, size);
}

#define MODE mode_t mode = 0; if (flags & O_CREAT) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
#define CREATES (flags & O_CREAT) && access(path, F_OK) != 0

#define OPEN(name) int name(const char *path, int flags, ...) { \
    REAL(int, #name, const char *, int, ...); \
    MODE if ((CREATES) && room_at("create", AT_FDCWD, path)) NONE; \
    return real(path, flags, mode); }
OPEN(open)
OPEN(open64)

#define OPENAT(name) int name(int base, const char *path, int flags, ...) { \
    REAL(int, #name, int, const char *, int, ...); \
    MODE if ((CREATES) && room_at("create", base, path)) NONE; \
    return real(base, path, flags, mode); }
OPENAT(openat)
OPENAT(openat64)

int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    if (access(path, F_OK) != 0 && room_at("mkdir", AT_FDCWD, path)) NONE;
    return real(path, mode);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    if (room_at("rename", AT_FDCWD, to)) NONE;
    return real(from, to);
}

int link(const char *from, const char *to) {
    REAL(int, "link", const char *, const char *);
    if (room_at("link", AT_FDCWD, to)) NONE;
    return real(from, to);
}

size_t fwrite(const void *data, size_t size, size_t count, FILE *file) {
    REAL(size_t, "fwrite", const void *, size_t, size_t, FILE *);
    int left = room_of("write", fileno(file));
    if (left) {
        size_t some = left == 1 ? count / 2 : 0;
        if (some) real(data, size, some, file);
        errno = ENOSPC;
        return some;
    }
    return real(data, size, count, file);
}
