"""The commands about city folders: `tongguan city ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deploy.options import AsJson, ConfigFile

city_app = typer.Typer(no_args_is_help=True, help="City folders. 新建与检查城市目录。")


@city_app.command(
    "new", epilog="Example: tongguan city new --from districts.geojson --datum GCJ-02 --code-field adcode hangzhou"
)
def city_new(
    folder: Annotated[Path, typer.Argument(help="Folder to make; it must not exist, or be empty.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="GeoJSON file of boundaries, of any level.", show_default=False)
    ] = None,
    box: Annotated[
        str | None,
        typer.Option(help="Instead: west,south,east,north in degrees of WGS-84.", show_default=False),
    ] = None,
    datum: Annotated[
        str | None,
        typer.Option(help="WGS-84, CGCS2000, GCJ-02 or BD-09; else as the file says.", show_default=False),
    ] = None,
    code_field: Annotated[str, typer.Option(help="Property with the official code.")] = "code",
    name_field: Annotated[str, typer.Option(help="Property with the name.")] = "name",
    level: Annotated[
        str | None,
        typer.Option(help="Level of all features; else their own, or as their codes say.", show_default=False),
    ] = None,
    code: Annotated[str | None, typer.Option(help="Code of the city.", show_default=False)] = None,
    name: Annotated[str | None, typer.Option(help="Name of the city.", show_default=False)] = None,
    name_en: Annotated[str | None, typer.Option(help="Its English name.", show_default=False)] = None,
    zone: Annotated[str | None, typer.Option(help="Its time zone.", show_default=False)] = None,
    cell_m: Annotated[float, typer.Option(min=1, max=100_000, help="Edge of a cell in metres.")] = 100.0,
) -> None:
    """Make a city folder from boundaries or a box, whole or not at all. 由边界文件或经纬度范围新建城市目录。"""
    from deploy.city import box_of, new
    from topology.city_new import Request

    new(
        Request(
            folder=folder,
            source=source,
            box=None if box is None else box_of(box),
            datum=datum,
            code_field=code_field,
            name_field=name_field,
            level=level,
            code=code,
            name_zh=name,
            name_en=name_en,
            zone=zone,
            cell_m=cell_m,
        )
    )


@city_app.command("check", epilog="Example: tongguan city check shanghai --json")
def city_check(
    folder: Annotated[
        str | None,
        typer.Argument(help="City folder, or the name of one that ships; else the configured one.", show_default=False),
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Name every problem of a city folder, with file and line. Ends with 1 if any. 检查城市目录，逐行列出问题。"""
    from deploy.city import check

    check(folder, config, as_json=as_json)
