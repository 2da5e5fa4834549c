/* Makes and closes argv[1] stream sockets of the address family argv[3] argv[2] times; prints the median CPU time per
 * socket, in nanoseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int by_size(const void *a, const void *b)
{
	double difference = *(double *)a - *(double *)b;

	return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
	int sockets = argc > 1 ? atoi(argv[1]) : 2000, runs = argc > 2 ? atoi(argv[2]) : 9;
	int family = argc > 3 ? atoi(argv[3]) : AF_INET;
	double *each = calloc(runs, sizeof(*each));
	struct timespec before, after;

	for (int run = 0; run < runs; run++) {
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
		for (int i = 0; i < sockets; i++) {
			int fd = socket(family, SOCK_STREAM, 0);

			if (fd < 0)
				return 1;
			close(fd);
		}
		clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
		each[run] = ((after.tv_sec - before.tv_sec) * 1e9 + after.tv_nsec - before.tv_nsec) / sockets;
	}
	qsort(each, runs, sizeof(*each), by_size);
	printf("%.0f\n", each[runs / 2]);
	return 0;
}
