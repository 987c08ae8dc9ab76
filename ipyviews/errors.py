"""Every public error.

::

    IPyViewsError                     (also known as KernelError, IPythonError)
    ├── UsageError                    you called us wrongly (also a ValueError)
    ├── RemoteError                   your code raised on an engine; .ename .evalue .traceback
    ├── CompositeError                several failures (also an ExceptionGroup)
    ├── AlreadyDisplayedError         the failure was shown while its output streamed
    ├── TaskError                     the task could not be run to an end
    │   ├── EngineError               its engine died
    │   ├── TaskAborted               cancelled, or an earlier cell failed
    │   ├── TaskTimeout               waited too long in the queue
    │   └── UnmetDependency
    │       └── ImpossibleDependency
    ├── NoEnginesRegistered           there is no engine to run it
    ├── TooManyPending                more is unsent than the client may hold
    ├── ClusterError                  no cluster, or the connection to it is lost
    │   ├── ControllerLost            the controller died
    │   └── VersionMismatch           client and controller do not fit together
    └── ProtocolError                 a peer sent what it must not

A wait that ends without a result raises the builtin `TimeoutError`.
"""

from __future__ import annotations


class IPyViewsError(Exception):
    """Root of all errors of ipyviews."""


class UsageError(IPyViewsError, ValueError):
    """You called us wrongly; the sentence says what to do instead."""


class TaskError(IPyViewsError):
    """The task could not be run to an end."""


class EngineError(TaskError):
    """An engine died; the sentence names engine, task and signal or exit code."""


class TaskAborted(TaskError):
    """The task was cancelled, or aborted because an earlier cell failed."""


class TaskTimeout(TaskError):
    """The task waited longer in the queue than it was allowed to."""


class UnmetDependency(TaskError):
    """What the task needs is not there on this engine."""


class ImpossibleDependency(UnmetDependency):
    """What the task needs can never be there."""


class NoEnginesRegistered(IPyViewsError):
    """There is no engine to run the task."""


class TooManyPending(IPyViewsError):
    """More is unsent than the client may hold."""


class ClusterError(IPyViewsError):
    """No cluster, or the connection to it is lost."""


class ControllerLost(ClusterError):
    """The controller died."""


class VersionMismatch(ClusterError):
    """Client and controller do not fit together."""


class ProtocolError(IPyViewsError):
    """A peer sent what it must not; never carries the payload."""


#: Names of the seeds.
KernelError = IPyViewsError
IPythonError = IPyViewsError
