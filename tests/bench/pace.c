/* Makes and closes argv[1] sockets at argv[2] per second, or at full speed if that is 0; prints the time it took, in
 * microseconds. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	long long sockets = atoll(argv[1]), rate = atoll(argv[2]), begun = now();

	for (long long i = 0; i < sockets; i++) {
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (argc < 3 || fd < 0)
			return 1;
		close(fd);
		if (rate)
			while (now() < begun + i * 1000000000LL / rate)
				;
	}
	printf("%lld\n", (now() - begun) / 1000);
	return 0;
}
