# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of F-Droid's pipeline that Buildbot 4.3 lacks, for a master.cfg to import.

fdroid-bb ships this package as it is beside the masters it generates. Each folder in it is a room,
whose docstring says what it is for and which other rooms it may import. What a master.cfg uses has
its name here, and only here.
"""

from .common.output import Output
from .failures import ends  # noqa: F401  # patches Buildbot when it is imported
from .failures.rules import FailureRule
from .failures.service import Failures
from .machines.engines import ContainerWorker
from .machines.vagrant import VagrantLatentWorker
from .master import crashed, plain_log, reconfig  # noqa: F401  # patch what they are named after
from .master.live import Live
from .master.retention import Retention
from .polling.app_git_poller import AppGitPoller
from .polling.other_pollers import app_hg_poller, app_svn_poller
from .queueing.changed_files import ChangedFiles
from .queueing.daily import Daily
from .queueing.due import AppSourceScheduler
from .queueing.pause import Pauses, app_may_start, next_worker
from .queueing.queue import ChangeScheduler, SameProperties
from .queueing.quiet import QuietTriggerable
from .queueing.submit import SubmitSource
from .reporting.http_status import HttpStatus
from .reporting.reporters import CommitStatus, FailureMail
from .steps import command_limits  # noqa: F401  # patches it too
from .steps.check_properties import CheckProperties
from .steps.commands import RunOnMaster
from .steps.conditions import Condition, PropertyIs, build_has_failed, build_is_well
from .steps.patient_git import PatientGit
from .steps.run import Retry, Run, SetProperty
from .steps.save_log import SaveLog
from .steps.transfer import Download, Upload
from .steps.upload_folder import UploadFolder
from .web import headers, rest  # noqa: F401  # patch it too
from .web.app_page import AppFactory
from .web.auth import SecretAuth
from .web.dashboard import dashboard
from .web.forges import GitHubLogin, GitLabLogin, RolesFromMembership

__all__ = [
    "AppFactory",
    "AppGitPoller",
    "AppSourceScheduler",
    "ChangeScheduler",
    "ChangedFiles",
    "CheckProperties",
    "CommitStatus",
    "Condition",
    "ContainerWorker",
    "Daily",
    "Download",
    "FailureMail",
    "FailureRule",
    "Failures",
    "GitHubLogin",
    "GitLabLogin",
    "HttpStatus",
    "Live",
    "Output",
    "PatientGit",
    "Pauses",
    "PropertyIs",
    "QuietTriggerable",
    "Retention",
    "Retry",
    "RolesFromMembership",
    "Run",
    "RunOnMaster",
    "SameProperties",
    "SaveLog",
    "SecretAuth",
    "SetProperty",
    "SubmitSource",
    "Upload",
    "UploadFolder",
    "VagrantLatentWorker",
    "app_hg_poller",
    "app_may_start",
    "app_svn_poller",
    "build_has_failed",
    "build_is_well",
    "dashboard",
    "next_worker",
]
