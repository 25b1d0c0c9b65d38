/* Waits for ever, as pause images do. */
#include <unistd.h>

int main(void)
{
    for (;;)
        pause();
}
