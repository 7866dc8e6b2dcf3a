/* A disk that forgets: what was not synced is gone when the power is.

   Preloaded. Beside a folder it keeps an image of what a disk would hold:
     data/NAME    the content that was synced, one file for each file of the folder
     entry/NAME   a hard link to it: the names that a synced folder has. An unlink, or a file that was only made,
                  is not in here before the folder itself was synced
     dirty/NAME   one byte per block of 4 KiB, shared by all processes: written and not yet synced
   Nothing is really synced, so it is quick; the programs are killed, not the machine.
   Only what SQLite does is watched: open, close, write, pwrite, ftruncate, unlink, fsync, fdatasync. A file that ends
   in `-shm` is memory and never survives. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK 4096
#define BLOCKS (64 * 1024) /* of a file: 256 MiB */
#define FILES 1024

enum kind { OTHER, REGULAR, FOLDER };
struct watched {
    enum kind kind;
    int image;
    unsigned char *dirty;
};

static char folder[PATH_MAX], image[PATH_MAX];
static struct watched files[FILES];

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))
typedef int (*open_t)(const char *, int, ...);
typedef int (*close_t)(int);
typedef ssize_t (*write_t)(int, const void *, size_t);
typedef ssize_t (*pwrite_t)(int, const void *, size_t, off_t);
typedef int (*ftruncate_t)(int, off_t);
typedef int (*unlink_t)(const char *);
typedef int (*fsync_t)(int);
static open_t real_open;
static close_t real_close;
static write_t real_write;
static pwrite_t real_pwrite;
static ftruncate_t real_ftruncate;
static unlink_t real_unlink;
static fsync_t real_fsync, real_fdatasync;

__attribute__((constructor)) static void find_the_real_ones(void) {
    real_open = REAL("open", open_t);
    real_close = REAL("close", close_t);
    real_write = REAL("write", write_t);
    real_pwrite = REAL("pwrite", pwrite_t);
    real_ftruncate = REAL("ftruncate", ftruncate_t);
    real_unlink = REAL("unlink", unlink_t);
    real_fsync = REAL("fsync", fsync_t);
    real_fdatasync = REAL("fdatasync", fsync_t);
}

/* From now on this process's files under `of` are watched. Both paths: absolute, without links. */
void power_watch(const char *of, const char *kept_in) {
    snprintf(folder, sizeof folder, "%s", of);
    snprintf(image, sizeof image, "%s", kept_in);
}

static const char *name_of(const char *path) { /* of a watched file; NULL for any other */
    size_t length = strlen(folder), all = strlen(path);
    if (!length || strncmp(path, folder, length) || path[length] != '/' || strchr(path + length + 1, '/')) return NULL;
    return all > 4 && !strcmp(path + all - 4, "-shm") ? NULL : path + length + 1;
}

static char *in_image(char *into, const char *part, const char *name) {
    snprintf(into, PATH_MAX, "%s/%s/%s", image, part, name);
    return into;
}

static struct watched *watched(int fd) { return fd >= 0 && fd < FILES ? &files[fd] : &files[FILES - 1]; }

static void watch(int fd, const char *path) {
    char at[PATH_MAX];
    const char *name;
    if (fd < 0 || fd >= FILES - 1 || !*folder) return;
    if (!strcmp(path, folder)) files[fd].kind = FOLDER;
    if (!(name = name_of(path))) return;
    int map = real_open(in_image(at, "dirty", name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    real_ftruncate(map, BLOCKS);
    files[fd].dirty = mmap(NULL, BLOCKS, PROT_READ | PROT_WRITE, MAP_SHARED, map, 0);
    real_close(map);
    files[fd].image = real_open(in_image(at, "data", name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    files[fd].kind = REGULAR;
}

/* After the write, never before: a sync by another thread in between would take the old content for the new. */
static void mark(int fd, off_t from, off_t until) {
    for (off_t block = from / BLOCK; block * BLOCK < until && block < BLOCKS; block++) files[fd].dirty[block] = 1;
}

static off_t size_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_size;
}

static void sync_file(int fd) {
    char block[BLOCK];
    off_t size = size_of(fd);
    for (off_t i = 0; i < BLOCKS && i * BLOCK < size; i++)
        if (files[fd].dirty[i]) {
            files[fd].dirty[i] = 0;
            ssize_t read = pread(fd, block, BLOCK, i * BLOCK);
            if (read > 0) real_pwrite(files[fd].image, block, read, i * BLOCK);
        }
    real_ftruncate(files[fd].image, size);
}

static int same(const char *one, const char *other) {
    struct stat a, b;
    return !stat(one, &a) && !stat(other, &b) && a.st_ino == b.st_ino;
}

static void sync_folder(void) {
    char data[PATH_MAX], entry[PATH_MAX], fresh[PATH_MAX], live[PATH_MAX];
    struct dirent *one;
    in_image(data, "data", "");
    DIR *all = opendir(data);
    while (all && (one = readdir(all))) {
        if (*one->d_name == '.') continue;
        if (same(in_image(data, "data", one->d_name), in_image(entry, "entry", one->d_name))) continue;
        snprintf(fresh, sizeof fresh, "%s/fresh-%d-%s", image, getpid(), one->d_name);
        if (!link(data, fresh)) rename(fresh, entry); /* in one step: the power may go at any moment */
    }
    if (all) closedir(all);
    in_image(entry, "entry", "");
    all = opendir(entry);
    while (all && (one = readdir(all))) {
        snprintf(live, sizeof live, "%s/%s", folder, one->d_name);
        if (*one->d_name != '.' && access(live, F_OK)) real_unlink(in_image(entry, "entry", one->d_name));
    }
    if (all) closedir(all);
}

static int sync_any(int fd, fsync_t really) {
    enum kind kind = watched(fd)->kind;
    if (kind == REGULAR) sync_file(fd);
    if (kind == FOLDER) sync_folder();
    return kind == OTHER ? really(fd) : 0;
}

int fsync(int fd) { return sync_any(fd, real_fsync); }
int fdatasync(int fd) { return sync_any(fd, real_fdatasync); }

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int fd = real_open(path, flags, va_arg(rest, int));
    va_end(rest);
    watch(fd, path);
    return fd;
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int fd = real_open(path, flags | O_LARGEFILE, va_arg(rest, int));
    va_end(rest);
    watch(fd, path);
    return fd;
}

int close(int fd) {
    struct watched *file = watched(fd);
    if (file->kind == REGULAR) {
        munmap(file->dirty, BLOCKS);
        real_close(file->image);
    }
    file->kind = OTHER;
    return real_close(fd);
}

ssize_t write(int fd, const void *from, size_t size) {
    ssize_t done = real_write(fd, from, size);
    if (done > 0 && watched(fd)->kind == REGULAR) {
        off_t end = lseek(fd, 0, SEEK_CUR);
        mark(fd, end - done, end);
    }
    return done;
}

ssize_t pwrite(int fd, const void *from, size_t size, off_t at) {
    ssize_t done = real_pwrite(fd, from, size, at);
    if (done > 0 && watched(fd)->kind == REGULAR) mark(fd, at, at + done);
    return done;
}

ssize_t pwrite64(int fd, const void *from, size_t size, off_t at) { return pwrite(fd, from, size, at); }

int ftruncate(int fd, off_t size) {
    off_t before = size_of(fd);
    int failed = real_ftruncate(fd, size);
    if (!failed && watched(fd)->kind == REGULAR) mark(fd, size < before ? size : before, size < before ? before : size);
    return failed;
}

int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

int unlink(const char *path) {
    char at[PATH_MAX];
    const char *name = name_of(path);
    int failed = real_unlink(path);
    if (!failed && name) { /* the old content stays under its entry; a new file of this name is another file */
        real_unlink(in_image(at, "data", name));
        real_unlink(in_image(at, "dirty", name));
    }
    return failed;
}
