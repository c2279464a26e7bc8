from autokd.train.report import Throttle


def test_a_log_has_each_look_and_in_between_a_line_every_ten_seconds_and_a_twentieth_of_the_training():
    now = [0.0]
    lines = Throttle(every=10.0, clock=lambda: now[0])

    def due(seconds, epochs, look=False):
        now[0] = seconds
        return lines.due(epochs, 100, look=look)

    assert not due(9, 8)
    assert due(10, 8)  # the first needs time alone
    assert not due(30, 12.9) and due(31, 13)  # 5 epochs of 100 later
    assert not due(40, 60)  # 9 s later
    assert due(40, 60, look=True) and not due(49, 90) and due(50, 90)
