/* A paced server as bare as it can be: `pace PORT [EVERY_MS [FIRST_MS]]`. One epoll loop, one heap of instants,
 * epoll_pwait2 for its nanoseconds. Every request, whatever it says, gets 100 frames, EVERY_MS apart (20), the first
 * with the head FIRST_MS (0) after its last byte. For pacing.py, and as the upstream of record_latency.py.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES = 100 };

typedef struct {
    int fd, sent, filled;
    long long start;
    char request[4096];
} Connection;

typedef struct {
    long long at;
    Connection *c;
} Due;

static Due heap[1 << 16];
static int waiting, epoll, chunk_size;
static long long every_ns = 20000000, first_ns;
static char chunk[1024];
static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void push(long long at, Connection *c) {
    int i = waiting++;
    for (; i && heap[(i - 1) / 2].at > at; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = (Due){at, c};
}

static Connection *pop(void) {
    Connection *first = heap[0].c;
    Due last = heap[--waiting];
    int i = 0;
    for (int child; (child = 2 * i + 1) < waiting; i = child) {
        if (child + 1 < waiting && heap[child + 1].at < heap[child].at) child++;
        if (heap[child].at >= last.at) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return first;
}

static void send_frame(Connection *c) {
    char out[sizeof head + sizeof chunk];
    int n = 0;
    if (!c->sent) memcpy(out, head, n = sizeof head - 1);
    memcpy(out + n, chunk, chunk_size), n += chunk_size;
    if (++c->sent == FRAMES) memcpy(out + n, "0\r\n\r\n", 5), n += 5;
    if (send(c->fd, out, n, MSG_NOSIGNAL) != n) return;
    if (c->sent < FRAMES) push(c->start + (long long)c->sent * every_ns, c);
}

static void receive(Connection *c) {
    int n = recv(c->fd, c->request + c->filled, sizeof c->request - 1 - c->filled, 0);
    if (n <= 0) {
        close(c->fd);
        return; /* a connection that leaves in the middle of a stream is not what is measured */
    }
    c->request[c->filled += n] = 0;
    char *end = strstr(c->request, "\r\n\r\n"), *length = strcasestr(c->request, "\r\ncontent-length:");
    if (!end || !length || c->filled < end + 4 - c->request + atoi(length + 17)) return;
    c->filled = c->sent = 0;
    c->start = now() + first_ns;
    if (first_ns) push(c->start, c);
    else send_frame(c);
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct rlimit files = {65536, 65536};
    setrlimit(RLIMIT_NOFILE, &files);
    at.sin_port = htons(argc > 1 ? atoi(argv[1]) : 0);
    if (argc > 2) every_ns = atof(argv[2]) * 1e6;
    if (argc > 3) first_ns = atof(argv[3]) * 1e6;
    char frame[512] = "data: {\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"";
    for (int i = 0; i < 55; i++) strcat(frame, "tok ");
    strcat(frame, "\"}}]}\n\n");
    chunk_size = sprintf(chunk, "%zx\r\n%s\r\n", strlen(frame), frame);
    int listening = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listening, (void *)&at, sizeof at) || listen(listening, 4096)) return perror("pace"), 1;
    fcntl(listening, F_SETFL, O_NONBLOCK);
    epoll = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN}, events[512];
    epoll_ctl(epoll, EPOLL_CTL_ADD, listening, &e);
    for (;;) {
        long long left = waiting ? heap[0].at - now() : 1000000000LL;
        if (left < 0) left = 0;
        struct timespec timeout = {left / 1000000000LL, left % 1000000000LL};
        int ready = epoll_pwait2(epoll, events, 512, &timeout, NULL);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) {
                receive(events[i].data.ptr);
                continue;
            }
            for (int fd; (fd = accept(listening, NULL, NULL)) >= 0;) {
                Connection *c = calloc(1, sizeof *c);
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                c->fd = fd, e.data.ptr = c;
                epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
            }
        }
        while (waiting && heap[0].at <= now()) send_frame(pop());
    }
}
