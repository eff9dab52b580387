"""The commands of the closed loop: `tongguan act` and `tongguan incidents ...`."""

from __future__ import annotations

from typing import Annotated

import typer

from deploy.options import AsJson, ConfigFile, Lang, Limit

incidents_app = typer.Typer(no_args_is_help=True, help="Incidents of the closed loop. 查看与核验闭环事件。")


def act(
    incident: Annotated[str, typer.Argument(help="The incident's id; with --ticket, a ticket that it holds.")],
    action: Annotated[
        str, typer.Argument(help="accept, finish, verify_pass, ... or in Chinese: 接单, 处置完成, 核查通过.")
    ],
    actor: Annotated[str, typer.Option(help="Who asks: a staff number.")],
    role: Annotated[str, typer.Option(help="operator, dispatcher, handler, verifier, supervisor or front_line.")],
    config: ConfigFile = None,
    ticket: Annotated[bool, typer.Option("--ticket", help="INCIDENT is the id of a ticket.")] = False,
    department: Annotated[str | None, typer.Option(help="The actor's department.", show_default=False)] = None,
    reason: Annotated[str | None, typer.Option(help="Why, in words.", show_default=False)] = None,
    result: Annotated[str | None, typer.Option(help="For finish: what came of it.", show_default=False)] = None,
    to_department: Annotated[
        str | None, typer.Option(help="For dispatch, transfer, whistle: who shall have it.", show_default=False)
    ] = None,
    departments: Annotated[
        str | None, typer.Option(help="For whistle: who is called, with commas between.", show_default=False)
    ] = None,
    into: Annotated[
        str | None, typer.Option(help="For merge: the incident that takes it in.", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="For suspend: a time, or 2h for in two hours.", show_default=False)
    ] = None,
    category: Annotated[str | None, typer.Option(help="For correct: the type.", show_default=False)] = None,
    severity: Annotated[int | None, typer.Option(min=1, max=4, help="For correct.", show_default=False)] = None,
    lon: Annotated[float | None, typer.Option(help="For correct, WGS-84.", show_default=False)] = None,
    lat: Annotated[float | None, typer.Option(help="For correct, WGS-84.", show_default=False)] = None,
    at: Annotated[
        str | None, typer.Option(help="When it was done: a time, or 10m ago; else now.", show_default=False)
    ] = None,
    expected_revision: Annotated[
        int | None, typer.Option(min=0, help="Refuse it when the incident changed since this.", show_default=False)
    ] = None,
    action_id: Annotated[
        str | None, typer.Option(help="An id of your own: sent twice it is done once.", show_default=False)
    ] = None,
    wait: Annotated[float, typer.Option(min=0, max=600, help="Seconds to wait for the answer; 0: do not.")] = 15,
    lang: Annotated[Lang | None, typer.Option(help="Language; else that of the terminal.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Do something to an incident and see the answer; ends with 1 when it is refused. 对事件执行操作并等待答复。"""
    from deploy.act import Request, run

    request = Request(
        incident=incident,
        action=action,
        actor=actor,
        role=role,
        by_ticket=ticket,
        department=department,
        reason=reason,
        result=result,
        to_department=to_department,
        departments=[word.strip() for word in (departments or "").split(",") if word.strip()],
        into=into,
        until=until,
        category=category,
        severity=severity,
        lon=lon,
        lat=lat,
        at=at,
        expected_revision=expected_revision,
        action_id=action_id,
    )
    run(config, request, wait_s=wait, lang=lang, as_json=as_json)


@incidents_app.command("list", epilog="Example: tongguan incidents list --overdue --lang zh")
def incidents_list(
    config: ConfigFile = None,
    state: Annotated[
        list[str] | None, typer.Option(help="Only in this state; may be given more than once.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Those that have ended too.")] = False,
    type: Annotated[str | None, typer.Option(help="Only of this type.", show_default=False)] = None,
    lead: Annotated[str | None, typer.Option(help="Only with this department.", show_default=False)] = None,
    district: Annotated[str | None, typer.Option(help="Only in the district of this code.", show_default=False)] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only past a deadline.")] = False,
    since: Annotated[
        str | None, typer.Option(help="Only changed from then on (10m, 2h, a time).", show_default=False)
    ] = None,
    limit: Limit = None,
    lang: Annotated[Lang | None, typer.Option(help="Language; else that of the terminal.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show the incidents that are open, the worst first. 列出未结事件，最紧迫的在前。"""
    from deploy.incidents import list_

    list_(
        config,
        states=state or (),
        everything=everything,
        type=type,
        lead=lead,
        district=district,
        overdue=overdue,
        since=since,
        limit=limit,
        lang=lang,
        as_json=as_json,
    )


@incidents_app.command("show", epilog="Example: tongguan incidents show 20260701-5d0c9a3b71e4")
def incidents_show(
    incident: Annotated[str, typer.Argument(help="Its id, the beginning of it, or a ticket that it holds.")],
    config: ConfigFile = None,
    lang: Annotated[Lang | None, typer.Option(help="Language; else that of the terminal.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show one incident: its history, tickets, notifications, and what may be done now. 查看一件事件的全过程。"""
    from deploy.incidents import show

    show(config, incident, lang=lang, as_json=as_json)


@incidents_app.command("verify", epilog="Example: tongguan incidents verify")
def incidents_verify(
    incident: Annotated[
        str | None, typer.Argument(help="Only this one, as for show; else all.", show_default=False)
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Prove that no record of the history was changed, dropped or added; ends with 1 if so. 核验事件摘要链。"""
    from deploy.incident_chain import verify

    verify(config, incident)
