"""The gateway's HTTP side: the API, ``/execute`` and the error documents.

``app.make_app`` puts it together; every module here talks to a ``ports.judicator.Judicator`` and
to nothing else. The pages live in ``accord.delivery.web``.
"""
