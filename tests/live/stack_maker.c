/*
 * --stack's workload: sockets by known functions, each with a frame of its own. Arguments: how often the failing ones
 * are called, and how long to live afterwards, in milliseconds.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define OWN_FRAME __attribute__((noinline, noclone))

OWN_FRAME int quick(void)
{
	int made = socket(AF_INET, SOCK_DGRAM, 0);

	close(made);
	return made >= 0;
}

/* Through libc's wrapper, whose frame pointer is this function's. */
OWN_FRAME int culprit(void)
{
	int made = socket(AF_INET, SOCK_STREAM, 200);

	return made >= 0;
}

OWN_FRAME int accomplice(void)
{
	return culprit() + 1;
}

OWN_FRAME int deep(int depth)
{
	return depth ? deep(depth - 1) + 1 : culprit();
}

int main(int argc, char **argv)
{
	int times = argc > 1 ? atoi(argv[1]) : 1, live_ms = argc > 2 ? atoi(argv[2]) : 0, depth = argc > 3 ? atoi(argv[3]) : 0;

	quick();
	for (int i = 0; i < times; i++)
		depth ? deep(depth) : accomplice();
	usleep(live_ms * 1000);
	return 0;
}
