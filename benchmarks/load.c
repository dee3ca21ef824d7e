/* The load client of the benchmarks: HTTP/1.1 over epoll in one thread, so that it is never what is measured.
 *
 *   load PORT rate    CONNECTIONS SECONDS REQUESTS [FIRST]   as many requests as the server answers, from FIRST (0) on
 *   load PORT streams CONNECTIONS SPREAD_MS REQUESTS FIRST_MS EVERY_MS FRAMES
 *                                                           one paced stream a connection, each frame against its time
 *
 * REQUESTS is a file of requests, each behind its length (4 bytes, little-endian); they are sent in turn.
 * Printed is one line of JSON. `busy` is the share of the wall time that this client computed: near 1 it was the
 * bottleneck, and the figures are its own. `stolen` is the share of all processors that the host took away meanwhile.
 * Exit 1 if an answer was no HTTP, no 200, cut off, or a connection could not be made.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEAD, SIZE, DATA, DATA_END, TRAILER, LENGTH };

typedef struct {
    int fd, state, frames, waits; /* waits: for room in the socket */
    double sent_at;      /* seconds */
    long left;           /* bytes of the chunk, or of the body */
    char line[8192];     /* head or chunk size, until it is whole */
    int filled;
    const char *rest;    /* of the request, what the socket did not take yet */
    size_t rest_length;
} Connection;

static char *requests;
static uint32_t *offsets, *lengths;
static size_t request_count, next_request;
static double *samples, *firsts; /* ms; of all frames, and of every stream's first */
static size_t sample_count, sample_room, first_count;
static long answers, frames_seen, bytes_seen;
static int port, streaming, epoll;
static double first_ms, every_ms;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *why) {
    fprintf(stderr, "load: %s%s%s\n", why, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static void sample(double ms) {
    if (sample_count == sample_room) {
        sample_room = sample_room ? 2 * sample_room : 1 << 16;
        if (!(samples = realloc(samples, sample_room * sizeof *samples))) die("no memory");
    }
    samples[sample_count++] = ms;
}

static void load_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) die(path);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    if (size <= 0 || !(requests = malloc(size)) || fread(requests, 1, size, file) != (size_t)size) die(path);
    fclose(file);
    size_t room = 0;
    for (long at = 0; at + 4 <= size;) {
        uint32_t length;
        memcpy(&length, requests + at, 4);
        if (request_count == room) {
            room = room ? 2 * room : 1024;
            offsets = realloc(offsets, room * 4);
            lengths = realloc(lengths, room * 4);
        }
        offsets[request_count] = at + 4, lengths[request_count++] = length;
        at += 4 + length;
    }
}

static void watch(Connection *c, int how) {
    struct epoll_event e = {.events = EPOLLIN | (c->rest_length ? EPOLLOUT : 0), .data.ptr = c};
    if (epoll_ctl(epoll, how, c->fd, &e)) die("epoll");
}

static void flush_request(Connection *c) {
    int waited = c->waits;
    while (c->rest_length) {
        ssize_t n = send(c->fd, c->rest, c->rest_length, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) die("a request could not be sent");
        c->rest += n, c->rest_length -= n;
    }
    c->waits = c->rest_length > 0;
    if (c->waits != waited) watch(c, EPOLL_CTL_MOD);
}

static void ask(Connection *c) {
    size_t n = next_request++ % request_count;
    c->rest = requests + offsets[n], c->rest_length = lengths[n];
    c->state = HEAD, c->filled = 0, c->frames = 0;
    c->sent_at = now();
    flush_request(c);
}

static void dial(Connection *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (void *)&to, sizeof to)) die("no connection");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    watch(c, EPOLL_CTL_ADD);
}

static void frame(Connection *c, double at) {
    frames_seen++;
    if (streaming && !c->frames) firsts[first_count++] = (at - c->sent_at) * 1e3 - first_ms;
    if (streaming) sample((at - c->sent_at) * 1e3 - (first_ms + c->frames * every_ms));
    c->frames++;
}

/* Whether the answer is whole. */
static int take(Connection *c, const char *p, size_t n, double at) {
    while (n || (c->state == LENGTH && !c->left)) {
        if (c->state == DATA || c->state == LENGTH) {
            size_t some = n < (size_t)c->left ? n : (size_t)c->left;
            p += some, n -= some, c->left -= some;
            if (c->left) return 0;
            if (c->state == LENGTH) {
                if (n) errno = 0, die("bytes behind an answer");
                return 1;
            }
            frame(c, at);
            c->state = DATA_END;
            continue;
        }
        if (c->filled == sizeof c->line - 1) errno = 0, die("a line is too long");
        char byte = c->line[c->filled++] = *p++;
        n--;
        if (byte != '\n') continue;
        c->line[c->filled] = 0;
        if (c->state == HEAD) {
            if (c->filled < 4 || memcmp(c->line + c->filled - 4, "\r\n\r\n", 4)) continue;
            if (strncmp(c->line, "HTTP/1.1 200", 12)) errno = 0, die(c->line);
            char *length = strcasestr(c->line, "\r\ncontent-length:");
            c->state = length ? LENGTH : SIZE;
            c->left = length ? atol(length + 17) : 0;
            if (!length && !strcasestr(c->line, "\r\ntransfer-encoding:")) errno = 0, die("an answer without framing");
        } else if (c->state == SIZE) {
            c->left = strtol(c->line, NULL, 16);
            c->state = c->left ? DATA : TRAILER;
        } else if (c->state == DATA_END) {
            c->state = SIZE;
        } else if (c->filled == 2) { /* the empty line behind the trailers */
            return 1;
        }
        c->filled = 0;
    }
    return 0;
}

static int rising(const void *a, const void *b) {
    double x = *(double *)a, y = *(double *)b;
    return x < y ? -1 : x > y;
}

static double of(double *sorted, size_t n, double q) { return n ? sorted[(size_t)(q * (n - 1))] : 0; }

static double quantile(double q) { return of(samples, sample_count, q); }

static double computed(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static double stolen(double *total) {
    double user, nice, system, idle, wait, irq, soft, steal = 0;
    FILE *file = fopen("/proc/stat", "r");
    *total = 1;
    if (file && fscanf(file, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &user, &nice, &system, &idle, &wait, &irq, &soft,
                       &steal) == 8)
        *total = user + nice + system + idle + wait + irq + soft + steal;
    if (file) fclose(file);
    return steal;
}

int main(int argc, char **argv) {
    if (argc < 6) die("see the comment at the top of load.c");
    port = atoi(argv[1]);
    streaming = !strcmp(argv[2], "streams");
    int count = atoi(argv[3]);
    double limit = atof(argv[4]);
    load_requests(argv[5]);
    if (streaming) first_ms = atof(argv[6]), every_ms = atof(argv[7]);
    else if (argc > 6) next_request = strtoul(argv[6], NULL, 10);
    struct rlimit files = {65536, 65536};
    if (setrlimit(RLIMIT_NOFILE, &files)) getrlimit(RLIMIT_NOFILE, &files), files.rlim_cur = files.rlim_max, setrlimit(RLIMIT_NOFILE, &files);
    epoll = epoll_create1(0);
    Connection *all = calloc(count, sizeof *all);
    firsts = calloc(count, sizeof *firsts);
    for (int i = 0; i < count; i++) dial(all + i);

    double total_before, total_after, stolen_before = stolen(&total_before);
    double start = now(), cpu_before = computed(), spread = streaming ? limit / 1e3 : 0;
    int asked = 0, done = 0;
    static char buffer[1 << 16];
    struct epoll_event events[512];
    while (streaming ? done < count : now() - start < limit) {
        double due = asked < count ? start + spread * asked / count : 0;
        for (; asked < count && now() >= due; due = start + spread * asked / count) ask(all + asked++);
        int wait_ms = asked < count ? (int)((due - now()) * 1e3) : 1000;
        int ready = epoll_wait(epoll, events, 512, wait_ms < 0 ? 0 : wait_ms);
        for (int i = 0; i < ready; i++) {
            Connection *c = events[i].data.ptr;
            if (events[i].events & EPOLLOUT) flush_request(c);
            if (!(events[i].events & ~EPOLLOUT)) continue;
            ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
            double at = now();
            if (n < 0 && errno == EAGAIN) continue;
            if (n <= 0) die("a connection was closed in the middle");
            bytes_seen += n;
            if (!take(c, buffer, n, at)) continue;
            answers++;
            if (streaming) done++;
            else sample((at - c->sent_at) * 1e3), ask(c);
        }
    }
    double seconds = now() - start, stolen_after = stolen(&total_after);
    double cpu = computed() - cpu_before;
    qsort(samples, sample_count, sizeof *samples, rising);
    qsort(firsts, first_count, sizeof *firsts, rising);
    printf("{\"answers\": %ld, \"frames\": %ld, \"bytes\": %ld, \"seconds\": %.4f, \"rate\": %.1f, \"p50_ms\": %.4f, "
           "\"p99_ms\": %.4f, \"max_ms\": %.4f, \"first_p50_ms\": %.4f, \"first_p99_ms\": %.4f, \"busy\": %.3f, "
           "\"stolen\": %.4f}\n",
           answers, frames_seen, bytes_seen, seconds, answers / seconds, quantile(.5), quantile(.99), quantile(1),
           of(firsts, first_count, .5), of(firsts, first_count, .99), cpu / seconds,
           (stolen_after - stolen_before) / (total_after - total_before + 1e-9));
    return 0;
}
