import os
import sys

from buildbot_worker.bot import Worker
from twisted.application import service
from twisted.python.log import FileLogObserver, ILogObserver

application = service.Application("buildbot-worker")
application.setComponent(ILogObserver, FileLogObserver(sys.stdout).emit)
worker = Worker(
    os.environ["BUILDMASTER"],
    int(os.environ["BUILDMASTER_PORT"]),
    os.environ["WORKERNAME"],
    os.environ.pop("WORKERPASS"),
    os.getcwd(),
    keepalive=600,
    umask=None,
    maxdelay=5,
)
worker.setServiceParent(application)
