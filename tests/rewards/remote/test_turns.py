import threading
import time
from contextlib import suppress

from reward_finetuning.rewards.remote import turns
from reward_finetuning.rewards.remote.turns import Turns


def order_of(costs):
    """The order in which requests of these costs get their turn, all of them waiting behind one."""
    queue, order = Turns(), []

    def take(cost):
        with queue.turn(cost):
            order.append(cost)

    threads = [threading.Thread(target=take, args=(cost,)) for cost in costs]
    with queue.turn(0.0):
        for number, thread in enumerate(threads, start=1):
            thread.start()
            while len(queue._queue) < number:
                time.sleep(0.001)
    for thread in threads:
        thread.join(10)
    return order


def test_requests_of_one_cost_go_in_the_order_in_which_they_came():
    queue_of_one_cost = [5.0, 5.0 + 1e-9, 5.0 + 2e-9]

    assert order_of(queue_of_one_cost) == queue_of_one_cost


def test_a_cheap_request_overtakes_expensive_ones():
    assert order_of([100.0, 90.0, 0.0]) == [0.0, 90.0, 100.0]


def test_an_expensive_request_is_not_put_off_for_ever(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(turns.time, "monotonic", lambda: now.__setitem__(0, now[0] + 40.0) or now[0])

    assert order_of([100.0, 0.0, 0.0 + 1e-9, 0.0 + 2e-9]) == [0.0, 1e-9, 100.0, 2e-9]


def test_an_error_gives_the_turn_to_the_next():
    queue = Turns()

    with suppress(ZeroDivisionError), queue.turn(0.0):
        1 / 0  # noqa: B018
    with queue.turn(0.0):
        pass
