"""What a call asks of numpy."""

import sys


def numpy_calls(call):
    """Names of the functions of numpy that a call runs."""
    found = []

    def note(frame, event, function):
        if event == "c_call" and (getattr(function, "__module__", None) or "").startswith("numpy"):
            found.append(function.__name__)
        elif event == "call" and "/numpy/" in frame.f_code.co_filename:
            found.append(frame.f_code.co_name)

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return found
