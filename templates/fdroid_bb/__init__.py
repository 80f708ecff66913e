# SPDX-License-Identifier: GPL-2.0-or-later
"""The parts of F-Droid's pipeline that Buildbot 4.3 lacks, for a master.cfg to import.

fdroid-bb ships this package as it is beside the masters it generates.
"""

from . import reconfig, rest  # noqa: F401  # mend Buildbot by being there
from .app_git_poller import AppGitPoller
from .app_page import AppFactory
from .auth import SecretAuth
from .check_properties import CheckProperties
from .commands import RunOnMaster
from .conditions import build_is_well
from .daily import Daily
from .dashboard import dashboard
from .due import AppSourceScheduler
from .live import Live
from .other_pollers import app_hg_poller, app_svn_poller
from .output import Output
from .patient_git import PatientGit
from .queue import ChangeScheduler, SameProperties
from .reporters import CommitStatus, FailureMail
from .save_log import SaveLog
from .submit import SubmitSource
from .transfer import Download, Upload
from .upload_folder import UploadFolder
from .vagrant import VagrantLatentWorker

__all__ = [
    "AppFactory",
    "AppGitPoller",
    "AppSourceScheduler",
    "ChangeScheduler",
    "CheckProperties",
    "CommitStatus",
    "Daily",
    "Download",
    "FailureMail",
    "Live",
    "Output",
    "PatientGit",
    "RunOnMaster",
    "SameProperties",
    "SaveLog",
    "SecretAuth",
    "SubmitSource",
    "Upload",
    "UploadFolder",
    "VagrantLatentWorker",
    "app_hg_poller",
    "app_svn_poller",
    "build_is_well",
    "dashboard",
]
