"""Clusters of one machine, and benchopt as a user starts it."""
import multiprocessing
import os
import re
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path

import yaml

SCRIPTS = Path(sys.executable).parent
SLURM = "munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "sbatch"
PATH = os.pathsep.join([str(SCRIPTS), os.environ["PATH"], "/usr/sbin"])

# Seconds that anything here may take on a busy machine.
PATIENCE = 600


def environment(folder, **more):
    """That of one thread, with a cache of its own and no colours."""
    return os.environ | {
        "PATH": PATH, "OMP_NUM_THREADS": "1", "COLUMNS": "300",
        "BENCHOPT_CACHE": str(folder / "cache"),
    } | more


# Forked from a process that has imported what is large: not seconds each.
FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(
    ["torch", "pandas", "pyarrow.parquet", "sklearn.datasets", "benchopt.cli"]
)


def run_here(arguments, cwd, settings, log, memory):
    """In a new process: what the command ``benchopt`` does."""
    from benchopt.cli import benchopt

    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environ.update(settings)
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    with open(log, "wb") as file:
        for stream in sys.stdout, sys.stderr:
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())
    status = 1
    try:
        benchopt(arguments, prog_name="benchopt")
    except SystemExit as ended:
        status = ended.code
    except Exception:
        traceback.print_exc()
    finally:
        for stream in sys.stdout, sys.stderr:
            stream.flush()
        os._exit(status)  # idle workers are not waited for


def benchopt(folder, *arguments, cwd, memory=None, **more):
    """Run ``benchopt …``; its exit status and what it told.

    ``memory`` is what ``ulimit -v`` would allow, in bytes.
    """
    log = folder / "log"
    process = FORKED.Process(target=run_here, args=(
        list(map(str, arguments)), str(cwd), environment(folder, **more),
        str(log), memory,
    ))
    process.start()
    process.join(PATIENCE)
    hangs = process.is_alive()
    with suppress(ProcessLookupError):  # its workers too
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    told = log.read_text(errors="replace")
    assert not hangs, told
    text = re.sub(r"\x1b\[[0-9;]*m", "", told)
    return process.exitcode, re.sub(r" +$", "", text, flags=re.MULTILINE)


def cached(folder):
    """The results that benchopt has kept."""
    return sorted(folder.glob("cache/**/output.pkl"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, what):
    """Ask until it is so."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.2)


def listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end(process):
    """End a process and its children, which share its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def dask(folder):
    """Yield benchopt's file for a scheduler and two workers."""
    from distributed import Client

    elsewhere = folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    config = folder / "dask.yml"
    config.write_text(f"backend: dask\ndask_address: {address}\n")

    def start(*arguments):
        with (elsewhere / "log").open("a") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments, "--host",
                 "127.0.0.1", "--no-dashboard"], cwd=elsewhere,
                env=environment(folder), stdout=log, stderr=log,
                start_new_session=True,
            )

    processes = [start("scheduler", "--port", str(port))]
    try:
        wait_for(lambda: listening(port), "no scheduler")
        processes += [
            start("worker", address, "--nthreads", "1", "--name", name,
                  "--local-directory", str(elsewhere))
            for name in ("one", "two")
        ]
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=PATIENCE)
        yield config
    finally:
        for process in reversed(processes):
            end(process)


SLURM_CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge
FirstJobId={job}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports[2]}
AccountingStoragePass={folder}/munge
AccountingStorageTRES=gres/gpu
GresTypes=gpu
MpiDefault=none
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""
SLURMDBD_CONF = """
AuthType=auth/munge
AuthInfo=socket={folder}/munge
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={ports[2]}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports[3]}
StorageUser=slurm
StoragePass=slurm
StorageLoc=accounting
"""


def slurm_is_missing():
    """What a SLURM of one node needs and is not here."""
    if os.geteuid() != 0:
        return "root"
    return " ".join(
        name for name in SLURM if not shutil.which(name, path=PATH)
    )


@contextmanager
def slurm(folder):
    """Yield the environment of a SLURM of this machine, with one "GPU"."""
    for name in "state", "spool", "mysql":
        (folder / name).mkdir(parents=True)
    measured = subprocess.check_output(
        ["slurmd", "-C"], text=True, env=os.environ | {"PATH": PATH}
    )
    known = dict(
        folder=folder, host=socket.gethostname().split(".")[0],
        ports=[free_port() for _ in range(4)],
        cpus=re.search(r"CPUs=(\d+)", measured)[1],
        memory=re.search(r"RealMemory=(\d+)", measured)[1],
        # submitit would take the files of an earlier job of this number
        job=1 + secrets.randbelow(60_000_000),
    )
    conf, dbd = folder / "slurm.conf", folder / "slurmdbd.conf"
    conf.write_text(SLURM_CONF.format(**known))
    dbd.write_text(SLURMDBD_CONF.format(**known))
    dbd.chmod(0o600)
    # a device file that is always there
    (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
    key = folder / "key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    settings = environment(folder, SLURM_CONF=str(conf))
    processes = []

    def start(*arguments):
        with (folder / f"{arguments[0]}.log").open("a") as log:
            processes.append(subprocess.Popen(
                list(map(str, arguments)), env=settings, stdout=log,
                stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            ))

    def tell(*arguments):
        return subprocess.run(
            list(map(str, arguments)), env=settings, capture_output=True,
            text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
        )

    database = f"--socket={folder}/mysql.socket"
    try:
        start("munged", "--foreground", "--force", f"--key-file={key}",
              f"--socket={folder}/munge", f"--pid-file={folder}/munged.pid",
              f"--log-file={folder}/munged.out", f"--seed-file={folder}/seed")
        tell("mariadb-install-db", "--no-defaults", "--user=root",
             f"--datadir={folder}/mysql", "--skip-test-db")
        start("mariadbd", "--no-defaults", "--user=root", database,
              f"--datadir={folder}/mysql", "--bind-address=127.0.0.1",
              f"--port={known['ports'][3]}",
              f"--pid-file={folder}/mysql.pid")
        wait_for(
            lambda: not tell("mariadb", "--no-defaults", database, "-e", """
                CREATE DATABASE IF NOT EXISTS accounting;
                CREATE OR REPLACE USER slurm@'127.0.0.1'
                    IDENTIFIED BY 'slurm';
                CREATE OR REPLACE USER slurm@localhost IDENTIFIED BY 'slurm';
                GRANT ALL ON accounting.* TO slurm@'127.0.0.1';
                GRANT ALL ON accounting.* TO slurm@localhost;
            """).returncode, "no database",
        )
        start("slurmdbd", "-D")
        wait_for(lambda: listening(known["ports"][2]), "no slurmdbd")
        tell("sacctmgr", "-i", "add", "cluster", "tests")
        start("slurmctld", "-D", "-c", "-f", conf)
        start("slurmd", "-D", "-f", conf)
        wait_for(
            lambda: tell("sinfo", "-h", "-o", "%T").stdout.strip() == "idle",
            "no idle node",
        )
        yield {"SLURM_CONF": str(conf)}
    finally:
        tell("scancel", "--user=root")
        for process in reversed(processes):
            end(process)


def small_jobs(root_dir, folder, **changes):
    """configs/parallel/slurm.yml for a small machine."""
    path = root_dir / "configs" / "parallel" / "slurm.yml"
    config = yaml.safe_load(path.read_text()) | changes
    (folder / "slurm.yml").write_text(yaml.safe_dump(config))
    return folder / "slurm.yml"
