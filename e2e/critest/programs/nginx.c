/* Stands in for nginx where critest looks: answers 200 on a port, writes /run/nginx.pid, calls itself "nginx: master process". */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 24\r\nConnection: close\r\n\r\n"
                             "<h1>Welcome, critest</h1";

int main(int argc, char **argv)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(argc > 1 ? atoi(argv[1]) : 80)};
    int on = 1, off = 0, listener = socket(AF_INET6, SOCK_STREAM, 0);

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) || listen(listener, 64)) {
        perror("listen");
        return 1;
    }
    FILE *pid = fopen("/run/nginx.pid", "w");
    if (pid) {
        fprintf(pid, "%d\n", getpid());
        fclose(pid);
    }
    /* As setproctitle(3) does: over the arguments, which lie one behind the other. */
    size_t room = argv[argc - 1] + strlen(argv[argc - 1]) - argv[0];
    memset(argv[0], 0, room);
    strncpy(argv[0], "nginx: master process", room);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, _exit);
    for (;;) {
        char request[4096];
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            continue;
        if (read(client, request, sizeof request) > 0 && write(client, answer, sizeof answer - 1) > 0)
            shutdown(client, SHUT_WR);
        while (read(client, request, sizeof request) > 0)
            ;
        close(client);
    }
}
