"""Masking: what is hidden, what an operator still recognises, and that masking twice changes nothing."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import privacy
from schemas.examples import TICKET
from schemas.fields import FieldClass, notes
from schemas.observation import COLUMN_NOTES
from schemas.sources import Source


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("王小明", "王**"),
        ("张三", "张*"),
        ("欧阳娜娜", "欧阳**"),
        ("欧阳", "欧*"),  # too short to be a long surname and a name
        ("阿卜杜拉·买买提", "阿***·买**"),
        ("John Smith", "J*** S****"),
        ("王", "*"),
        ("", ""),
    ],
)
def test_a_name_keeps_its_surname(name: str, masked: str) -> None:
    assert privacy.mask_name(name) == masked


@pytest.mark.parametrize(
    ("phone", "masked"),
    [
        ("13800138000", "138****8000"),
        ("138-0013-8000", "138-****-8000"),
        ("+86 13800138000", "+86 138****8000"),
        ("021-61234567", "021-****4567"),
        ("0755-81234567", "0755-****4567"),
        ("61234567", "****4567"),
        ("6123456", "****456"),
        ("12345", "*****"),
        ("王小明13800138000", "**************"),
        ("１３８００１３８０００", "１３８****８０００"),
        ("", ""),
    ],
)
def test_a_telephone_keeps_prefix_and_end(phone: str, masked: str) -> None:
    assert privacy.mask_phone(phone) == masked


@pytest.mark.parametrize(
    ("plate", "masked"),
    [("沪A12345", "沪A***45"), ("沪A·12345", "沪A·***45"), ("沪AD12345", "沪A****45"), ("沪A1", "***")],
)
def test_a_plate_keeps_its_city(plate: str, masked: str) -> None:
    assert privacy.mask_plate(plate) == masked


@pytest.mark.parametrize(
    ("address", "masked"),
    [
        ("徐汇区漕溪北路398号3幢1502室", "徐汇区漕溪北路398号3幢****室"),
        ("天平路 12 弄 7 号 301 室", "天平路 12 弄 7 号 *** 室"),
        ("幸福里小区5-2-301室", "幸福里小区*-*-***室"),
        ("漕溪北路398号", "漕溪北路398号"),
    ],
)
def test_an_address_keeps_the_building_not_the_flat(address: str, masked: str) -> None:
    assert privacy.mask_address(address) == masked


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://media.example/cam/107/1.jpg?token=abc", "https://media.example/***"),
        ("https://user:secret@media.example/x", "https://media.example/***"),
        ("cam/107/1.jpg", "***"),
    ],
)
def test_an_address_of_a_picture_keeps_its_host(url: str, masked: str) -> None:
    assert privacy.mask_url(url) == masked


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("请回电13800138000，谢谢", "请回电138****8000，谢谢"),
        ("手机138 0013 8000或+86-138-0013-8000", "手机138 **** 8000或+86-138-****-8000"),
        ("拨打１３８００１３８０００", "拨打１３８****８０００"),
        ("座机021-61234567转8012", "座机021-****4567转8012"),
        ("(021)61234567", "(021)****4567"),
        ("电话：61234567", "电话：****4567"),
        ("身份证310101199001011234", "身份证31**************34"),
        ("身份证31010119900101123X。", "身份证31**************3X。"),
        ("身份证310101 19900101 123x", "身份证31**** ******** **3x"),
        ("卡号6222 0212 3456 7890 123", "卡号62** **** **** **** *23"),
        ("车牌沪A12345逃逸", "车牌沪A***45逃逸"),
        ("新能源沪AD12345和粤B·D12345", "新能源沪A****45和粤B·****45"),
        ("幺三八零零幺三八零零零打来", "幺三*******零零打来"),
        ("联系人：王小明，电话13800138000", "联系人：王**，电话138****8000"),
        ("两个号1380013800013900139000连写", "两个号13******************00连写"),
        # what must stay readable
        ("积水深度 152.5 毫米，超过 150 毫米", "积水深度 152.5 毫米，超过 150 毫米"),
        ("2026年7月1日8时至10时，110、12345均接报", "2026年7月1日8时至10时，110、12345均接报"),
        ("2026-07-01 08:00:00 漕溪北路398号", "2026-07-01 08:00:00 漕溪北路398号"),
        ("设备 WL-0042 在云南路", "设备 WL-0042 在云南路"),
        ("readings:0:1042", "readings:0:1042"),
        ("", ""),
    ],
)
def test_free_text_loses_numbers_plates_and_labelled_names(text: str, masked: str) -> None:
    assert privacy.mask_text(text) == masked


pieces = st.sampled_from(
    re.findall(
        r"\S+",
        """
    13800138000 021-61234567 沪A12345 粤BD12345 310101199001011234 6222-0212-3456-7890 138****8000 1 8 １ 幺 一三八
    王小明 张* 联系人： 电话 室 502室 · - * http://a/b @ x 京 Q
    """,
    )
) | st.just(" ")
texts = st.lists(pieces, max_size=10).map("".join) | st.text(max_size=30)


@given(texts, st.sampled_from(sorted(privacy.MASKS)))
def test_masking_twice_changes_nothing(text: str, mask: Any) -> None:
    once = privacy.MASKS[mask](text)
    assert privacy.MASKS[mask](once) == once


near_misses = st.text(st.sampled_from("0123456789１３ -–.·(（)）X姓名联系人:：沪京A学一幺三五八室房Ｂａ*"), max_size=40)


@settings(max_examples=1_000)
@given(texts | near_misses)
def test_the_short_look_at_a_text_misses_nothing_that_a_rule_finds(text: str) -> None:
    masked = text
    while True:
        before = masked
        for pattern, mask in privacy._text_rules():
            masked = privacy._replace(pattern, mask, masked, masked.translate(privacy._NARROW))
        if masked == before:
            break
    assert privacy.mask_text(text) == masked


@given(texts)
def test_no_mobile_number_survives_in_free_text(text: str) -> None:
    masked = privacy.mask_text(f"{text}，13912345678。")
    assert "13912345678" not in masked


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
fields = st.dictionaries(
    st.sampled_from(["text", "caller_name", "caller_phone", "ticket_id", "address", "x"]), json_values
)


@given(fields)
def test_masking_a_record_twice_changes_nothing(record: dict[str, Any]) -> None:
    before = repr(record)
    once = privacy.mask_fields(record)
    assert repr(privacy.mask_fields(once)) == repr(once)
    assert repr(record) == before


@given(st.binary(max_size=60) | texts.map(str.encode).filter(bool))
def test_any_bytes_can_be_shown(payload: bytes) -> None:
    shown = privacy.mask_payload(payload)
    assert privacy.mask_payload(shown.encode()) == shown


def test_a_ticket_is_fit_to_be_shown() -> None:
    said = msgspec.structs.replace(TICKET, text="我是王小明，住502室，号码13800138000", address="天平路12号502室")
    shown = json.loads(privacy.mask_payload(msgspec.json.encode(said)))
    assert shown["caller_name"] == "王**"
    assert shown["caller_phone"] == "138****8000"
    assert shown["text"] == "我是王**，住502室，号码138****8000"
    assert shown["address"] == "天平路12号***室"
    assert shown["ticket_id"] == said.ticket_id
    assert shown["category"] == "flood"


def test_the_caller_is_hidden_in_unknown_fields_and_numbers_too() -> None:
    record = {
        "caller_name": "王小明",
        "note": {"by": ["王小明", 13800138000, 1782864000000]},
        "caller_phone": 13800138000,
    }
    shown = privacy.mask_fields(record)
    assert shown == {
        "caller_name": "王**",
        "note": {"by": ["王**", "138****8000", 1782864000000]},
        "caller_phone": "***",
    }


def test_ids_that_look_like_telephones_stay() -> None:
    record = {"device_id": "13800138000", "ticket_id": "20260701000123456", "value": 13800138000}
    assert privacy.mask_fields(record) == record


@pytest.mark.parametrize(
    "payload",
    [
        '{"caller_name":"王小明","caller_phone":"13800138000","text":',
        '{"caller_name": "王小明", bad',
        '{"caller_name":"王小明',
        '{"caller_name":王小明}',
    ],
)
def test_a_broken_record_shows_no_name_either(payload: str) -> None:
    shown = privacy.mask_payload(payload.encode())
    assert "王小明" not in shown and "小明" not in shown
    assert "13800138000" not in shown


def test_the_personal_fields_are_these() -> None:
    assert dict(privacy.personal_fields(Source.READINGS)) == {}
    assert dict(privacy.personal_fields(Source.CAMERA_EVENTS)) == {"snapshot_url": "url", "plate_hash": "hidden"}
    assert dict(privacy.personal_fields(Source.TICKETS)) == {
        "text": "text",
        "address": "address",
        "caller_name": "name",
        "caller_phone": "phone",
    }
    assert [name for name, (of, _, _) in COLUMN_NOTES.items() if of is FieldClass.PERSONAL] == ["extra"]


def test_a_field_without_a_note_is_a_mistake() -> None:
    class Bare(msgspec.Struct):
        name: str

    with pytest.raises(TypeError, match=r"Bare\.name has no note"):
        notes(Bare)


def test_extra_is_masked_and_its_absence_stays() -> None:
    assert privacy.mask_extra(None) is None
    assert privacy.mask_extra('{"caller_phone":"13800138000"}') == '{"caller_phone":"138****8000"}'
