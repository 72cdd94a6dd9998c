"""task=serve: `app.py` the routes, `gate.py` who may come in and how much they may send, `asked.py` requests as they
are checked, `answering.py` tokens to text and OpenAI's objects, `worker.py` the thread that computes, `shelf.py` the
runs that are loaded, `pages.py` what the page shows of runs."""
