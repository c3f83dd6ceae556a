"""N processes as torchrun would start them, forked from one that has imported everything."""

import os
import sys
import traceback
from collections.abc import Callable

import torch.distributed as dist


def run_forked(world_size: int, run: Callable[[], None]) -> None:
    """Run the same function in each process; leave if one of them fails."""
    store = dist.TCPStore("127.0.0.1", 0, world_size, is_master=True, wait_for_workers=False)
    children = [fork(rank, world_size, store.port, run) for rank in range(world_size)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        sys.exit(f"{world_size} processes ended with {codes}")


def fork(rank: int, world_size: int, port: int, run: Callable[[], None]) -> int:
    """Start one process; return its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        if world_size > 1:
            os.environ |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(world_size),
                "LOCAL_WORLD_SIZE": str(world_size),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "TORCHELASTIC_USE_AGENT_STORE": "True",
            }
        run()
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)
