"""The command `tongguan`: one short function per command, each handing over to its own file.

A command imports what it needs when it runs: the kernels behind the worker take more than a second to import, which
`tongguan --help` should not wait for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.console import TongguanGroup, out
from deploy.main_city import city_app
from deploy.main_loop import act, incidents_app
from deploy.options import AsJson, ConfigFile, Format, Lang, Limit

EXIT_CODES = (
    "Exit codes: 0 done; 1 found problems; 2 wrong usage or configuration; 3 Kafka or ClickHouse away; "
    "75 a consumer of the worker stood still."
)

app = typer.Typer(
    name="tongguan",
    cls=TongguanGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Tongguan 统管: the real-time core of a city's unified management. 城市运行一网统管的实时核心。",
    epilog=EXIT_CODES,
)
topics_app = typer.Typer(no_args_is_help=True, help="Kafka topics. 管理 Kafka 主题。")
letters_app = typer.Typer(no_args_is_help=True, help="Records that could not be used. 查看与重投死信。")
config_app = typer.Typer(no_args_is_help=True, help="The configuration. 查看与检查配置。")
app.add_typer(topics_app, name="topics")
app.add_typer(city_app, name="city")
app.add_typer(incidents_app, name="incidents")
app.add_typer(letters_app, name="dead-letters")
app.add_typer(config_app, name="config")

ALL_ROLES = "locate,join,dispatch,archive"


@app.command(epilog="Example: tongguan demo --minutes 5 --lang en")
def demo(
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            max=10_000,
            help="End by itself after so many minutes of the clock; else Ctrl-C ends it.",
            show_default=False,
        ),
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=1, max=1_000, help="Times the pace of a real city; else 60.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Another one is another city and another evening; else 1.", show_default=False),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Instead of a simulated city: boston, its real tickets.", show_default=False)
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="With --data: folder of the tickets; else the extract that ships.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="With --data: so many tickets.", show_default=False)
    ] = None,
    data_dir: Annotated[
        Path, typer.Option(help="Directory of its own, made anew each time; the history stays there afterwards.")
    ] = Path(".tongguan/demo"),
    lang: Annotated[
        Lang | None, typer.Option(help="Language; else Chinese, unless the terminal is English.", show_default=False)
    ] = None,
) -> None:
    """Show a city on this machine, live on one screen. 本机演示：一座城市的实时运行，一屏统览。"""
    from deploy.demo_command import Request, run

    run(
        Request(
            minutes=minutes, speed=speed, seed=seed, data=data, source=source, limit=limit, folder=data_dir, lang=lang
        )
    )


@app.command(epilog="Example: tongguan replay tickets_boston --speed 3600 --dry-run")
def replay(
    data_set: Annotated[
        str | None, typer.Argument(metavar="[SET]", help="Name of a set (see --list), or a mapping file of your own.")
    ] = None,
    config: ConfigFile = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the set's files; else the extract that ships.", show_default=False)
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0, max=1e9, help="Times the pace of the recording; 0 is as fast as possible.")
    ] = 1.0,
    limit: Limit = None,
    since: Annotated[
        str | None, typer.Option("--from", help="Only from this event time on.", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only before this event time.", show_default=False)] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing: show the first records and the counts.")
    ] = False,
    anywhere: Annotated[bool, typer.Option("--anywhere", help="Send even what lies outside the city.")] = False,
    list_sets: Annotated[bool, typer.Option("--list", help="Show the sets there are.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send recorded real data at n-fold speed, event times kept. 按倍速回放真实录制数据，保留事件时间。"""
    if list_sets:
        from deploy.replay.listing import show_sets

        show_sets(as_json=as_json)
        return
    if data_set is None:
        raise typer.BadParameter("name a data set, or see --list", param_hint="SET")
    from deploy.replay_command import run

    run(
        config,
        data_set,
        folder=data_dir,
        speed=speed,
        limit=limit,
        since=since,
        until=until,
        dry_run=dry_run,
        anywhere=anywhere,
        as_json=as_json,
    )


@app.command(epilog="Example: tongguan simulate --preset storm --seed 7 --minutes 30 --sink file --out storm")
def simulate(
    config: ConfigFile = None,
    preset: Annotated[str, typer.Option(help="quiet, storm, rush or mixed.")] = "storm",
    seed: Annotated[int | None, typer.Option(help="Same seed, same bytes.", show_default=False)] = None,
    minutes: Annotated[float | None, typer.Option(help="How long, in the city's time.", show_default=False)] = None,
    devices: Annotated[int | None, typer.Option(help="How many devices.", show_default=False)] = None,
    cameras: Annotated[int | None, typer.Option(help="How many cameras.", show_default=False)] = None,
    start: Annotated[
        str | None, typer.Option(help="When it begins: a time, or 30m for that long ago.", show_default=False)
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="name=value, e.g. faults.malformed_rate=0.01; may be repeated.", show_default=False),
    ] = None,
    sink: Annotated[str, typer.Option(help="kafka, file or null (only count).")] = "kafka",
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Directory for truth.jsonl, devices.csv, ...", show_default=False)
    ] = None,
    speed: Annotated[
        float | None, typer.Option(min=0, help="Times the city's pace; 0 is at once.", show_default=False)
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Records a second at most; 0 is no limit.")] = 0,
    describe: Annotated[bool, typer.Option("--describe", help="Print every setting, and do nothing.")] = False,
) -> None:
    """Make the records of a city that does not exist, and the truth about it. 模拟城市：生成数据与真相文件。"""
    from deploy.simulate import SinkName, run

    run(
        config, preset_name=preset, assignments=settings or [], seed=seed, minutes=minutes, devices=devices,
        cameras=cameras, start=start, sink_name=SinkName.of(sink), folder=out_dir, speed=speed, rate=rate,
        describe=describe,
    )  # fmt: skip


@app.command(epilog="Example: tongguan up")
def up(
    config: ConfigFile = None,
    roles: Annotated[str, typer.Option(help="What the worker does, with commas between.")] = ALL_ROLES,
    worker: Annotated[bool, typer.Option(help="Also run a worker.")] = True,
) -> None:
    """Start a whole local system: Kafka, ClickHouse, topics, tables, worker. 启动本机整套系统，Ctrl-C 停止。"""
    from deploy.up import run

    run(config, roles=roles if worker else "")


@app.command(epilog="Example: TONGGUAN_KAFKA=kafka1:9092,kafka2:9092 tongguan worker --roles locate,join")
def worker(
    config: ConfigFile = None,
    roles: Annotated[str, typer.Option(help="What it does, with commas between.")] = ALL_ROLES,
) -> None:
    """Run a worker against an existing Kafka and ClickHouse. 运行处理进程。"""
    from deploy.worker_command import run

    run(config, roles=roles)


@topics_app.command("apply", epilog="Example: tongguan topics apply --dry-run")
def topics_apply(
    config: ConfigFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
) -> None:
    """Create missing topics and settle drift; never deletes. Ends with 1 when drift remains. 创建与校正主题。"""
    from deploy.topics import apply

    apply(config, dry_run=dry_run)


@app.command(epilog="Example: tongguan tail alerts --severity 3 --lang zh")
def tail(
    topic: Annotated[
        str,
        typer.Argument(
            help="alerts, incidents, notifications, actions, urgent-tickets, dead-letters, observations, readings, "
            "camera-events or tickets."
        ),
    ] = "alerts",
    config: ConfigFile = None,
    detector: Annotated[str | None, typer.Option(help="Only this detector's alerts.", show_default=False)] = None,
    severity: Annotated[
        int | None,
        typer.Option(min=1, max=4, help="Only alerts or incidents at least this severe.", show_default=False),
    ] = None,
    cell: Annotated[
        str | None, typer.Option(help="Only this cell, decimal or 0x hexadecimal.", show_default=False)
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="Only lines that contain this, as they are shown.", show_default=False)
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Start that long ago (30s, 10m, 2h, 3d), at a time, or 'beginning'.", show_default=False),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Stop at the present end instead of following.")] = False,
    limit: Limit = None,
    lang: Annotated[Lang | None, typer.Option(help="Language; else that of the terminal.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Follow a topic, readable, personal fields masked. 跟踪主题，个人信息已脱敏。"""
    from deploy.tail import Filter, run

    wanted = Filter.of(detector=detector, severity=severity, cell=cell, text=text)
    run(config, topic, wanted=wanted, since=since, once=once, limit=limit, lang=lang, as_json=as_json)


app.command(
    epilog="Example: tongguan act 20260701-5d0c9a3b71e4 accept --actor xh-water-017 --role handler "
    "--department xuhui-water"
)(act)


@app.command(epilog='Example: tongguan sql "SELECT kind, count() FROM v_observations GROUP BY kind" --format csv')
def sql(
    query: Annotated[
        str | None, typer.Argument(help="One ClickHouse query; without it, read from standard input.")
    ] = None,
    config: ConfigFile = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="How to print the rows.")] = Format.TABLE,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Print at most this many rows.")] = 1000,
) -> None:
    """Ask the history, embedded or remote. 查询历史数据。"""
    from deploy.sql import run

    run(config, query, format=format, limit=limit)


@letters_app.command("list", epilog="Example: tongguan dead-letters list --reason bad_time --limit 20")
def letters_list(
    config: ConfigFile = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason.", show_default=False)] = None,
    topic: Annotated[str | None, typer.Option(help="Only this raw topic.", show_default=False)] = None,
    since: Annotated[str | None, typer.Option(help="Only from then on (10m, 2h, a time).", show_default=False)] = None,
    limit: Limit = None,
    lang: Annotated[Lang | None, typer.Option(help="Language; else that of the terminal.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show the records that could not be used, and why. 列出无法处理的记录及原因。"""
    from deploy.dead_letters import show

    show(config, reason=reason, topic=topic, since=since, limit=limit, lang=lang, as_json=as_json)


@letters_app.command("redrive", epilog="Example: tongguan dead-letters redrive --reason outside_city --dry-run")
def letters_redrive(
    config: ConfigFile = None,
    reason: Annotated[str | None, typer.Option(help="Only this reason.", show_default=False)] = None,
    topic: Annotated[str | None, typer.Option(help="Only this raw topic.", show_default=False)] = None,
    since: Annotated[str | None, typer.Option(help="Only from then on (10m, 2h, a time).", show_default=False)] = None,
    limit: Limit = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
) -> None:
    """Send dead records to their raw topics again, after the cause is mended. 原因排除后重新投递。"""
    from deploy.dead_letters import redrive

    redrive(config, reason=reason, topic=topic, since=since, limit=limit, dry_run=dry_run)


@app.command(epilog="Example: tongguan migrate")
def migrate(config: ConfigFile = None) -> None:
    """Bring ClickHouse's tables up to date. 更新 ClickHouse 表结构。"""
    from deploy.migrate import run

    run(config)


@app.command(epilog="Example: tongguan doctor --json")
def doctor(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check everything Tongguan depends on, and say what to do. 检查各项依赖并给出处理办法。"""
    from deploy.doctor import run

    run(config, as_json=as_json)


@config_app.command("show", epilog="Example: tongguan config show --json")
def config_show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print the configuration in force, secrets masked. 显示当前生效的配置。"""
    from deploy.config_command import show

    show(config, as_json=as_json)


@config_app.command("check", epilog="Example: tongguan config check -c tongguan.toml")
def config_check(config: ConfigFile = None) -> None:
    """Name every problem of the configuration. 检查配置，列出所有问题。"""
    from deploy.config_command import check

    check(config)


@config_app.command("sample", epilog="Example: tongguan config sample > tongguan.toml")
def config_sample() -> None:
    """Print a sample file: every setting, its default and what it means. 输出配置样例。"""
    from deploy.config_sample import sample_toml

    out.print(sample_toml().rstrip("\n"))


@app.command(epilog="Example: tongguan version")
def version() -> None:
    """Print the version. 显示版本。"""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        out.print(f"tongguan {installed('tongguan')}")
    except PackageNotFoundError:
        out.print("tongguan, not installed: run from a source tree")


def main() -> None:
    app()


if __name__ == "__main__":
    main()
