/* The limit: raw bytes back, no WebSocket. One thread, level-triggered epoll,
 * one read and one write per readiness, no memory for a connection. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 1024, BYTES = 64 << 10 };

static void die(const char *what) {
	perror(what);
	exit(1);
}

static void listening(int fd) {
	struct sockaddr_in at;
	socklen_t size = sizeof at;
	if (getsockname(fd, (struct sockaddr *)&at, &size) < 0)
		die("getsockname");
	printf("speaks raw\nlistening 127.0.0.1:%d\n", ntohs(at.sin_port));
	fflush(stdout);
}

static int open_listener(const char *address) {
	struct sockaddr_in at = {.sin_family = AF_INET};
	char host[64];
	int port;
	if (sscanf(address, "%63[0-9.]:%d", host, &port) != 2 || inet_pton(AF_INET, host, &at.sin_addr) != 1) {
		fprintf(stderr, "--listen wants IPv4:PORT\n");
		exit(2);
	}
	at.sin_port = htons(port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 4096) < 0)
		die(address);
	return fd;
}

/* A full socket buffer is waited for: the load never has that much in flight. */
static int write_all(int fd, const char *b, ssize_t n) {
	while (n > 0) {
		ssize_t w = write(fd, b, n);
		if (w < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};
			poll(&p, 1, -1);
			continue;
		}
		if (w <= 0)
			return -1;
		b += w, n -= w;
	}
	return 0;
}

static void echo(int fd) {
	static char b[BYTES];
	ssize_t n = read(fd, b, sizeof b);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || write_all(fd, b, n) < 0)
		close(fd);
}

static void accept_all(int ep, int listener) {
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), one = 1;
		if (fd < 0)
			return;
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	}
}

int main(int argc, char **argv) {
	const char *address = "127.0.0.1:0";
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--variants") == 0) {
			puts("plain");
			return 0;
		} else if (strcmp(argv[i], "--listen") == 0 && i + 1 < argc) {
			address = argv[++i];
		} else if (strcmp(argv[i], "--variant") == 0 && i + 1 < argc && strcmp(argv[i + 1], "plain") == 0) {
			i++;
		} else {
			fprintf(stderr, "usage: barec [--listen IPv4:PORT] [--variant plain] [--variants]\n");
			return 2;
		}
	}
	int ep = epoll_create1(0), listener = open_listener(address);
	struct epoll_event ev = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev) < 0)
		die("epoll");
	listening(listener);
	for (;;) {
		int n = epoll_wait(ep, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listener)
				accept_all(ep, listener);
			else
				echo(events[i].data.fd);
		}
	}
}
