/* Set-user-id root in its image: says whether that counts. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    printf("Effective uid: %d\n", geteuid());
    return 0;
}
