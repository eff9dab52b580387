"""What callers say. Nobody in it exists; telephones and identity numbers are of ranges that nobody has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SURNAMES: Final = "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧"
GIVEN: Final = (
    "建国",
    "秀英",
    "伟",
    "芳",
    "志强",
    "丽",
    "敏",
    "静",
    "磊",
    "海燕",
    "玉兰",
    "明",
    "晓东",
    "婷",
    "国华",
    "佳怡",
)

DEPTHS: Final = (
    (120.0, "没过鞋底了"),
    (220.0, "到脚踝了"),
    (380.0, "快到小腿肚了"),
    (560.0, "到膝盖了"),
    (9e9, "到大腿了"),
)
"""What water up to so many millimetres comes to."""

FLOOD: Final = (
    "{place}积水{depth}",
    "{place}路面积水严重，{depth}，电动车都熄火了",
    "{place}下水道堵了，水排不下去，{depth}",
    "我在{place}，水{depth}，车子开不过去",
    "{place}淹水了，水往店里面灌，{depth}",
)
INCIDENT_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "flood": FLOOD,
    "accident": (
        "{place}两辆车撞了，占了一条车道",
        "{place}出车祸了，堵得一塌糊涂",
        "{place}发生交通事故，有人受伤，请快点来人",
        "{place}追尾，车子还停在路中间",
        "{place}前面撞车了，一动不动半小时",
    ),
    "fire": (
        "{place}着火了，有黑烟冒出来",
        "{place}楼上起火了，火很大",
        "{place}有很浓的烟，闻到焦味",
        "{place}店里烧起来了，快来",
    ),
    "gas_leak": (
        "{place}有很重的煤气味",
        "{place}楼道里一股燃气味道，好像漏气了",
        "{place}闻到天然气味道，头有点晕",
        "{place}地沟里有臭鸡蛋味，怀疑燃气泄漏",
    ),
    "crowd": (
        "{place}人太多了，挤得走不动，怕出事",
        "{place}人山人海，没有人维持秩序",
        "{place}聚集了很多人，地铁口都堵住了",
    ),
    "manhole": (
        "{place}窨井盖没了，骑车差点掉下去",
        "{place}井盖移位翘起来了，很危险",
        "{place}路中间井盖不见了，晚上看不清",
    ),
}
AGAIN: Final = (
    "已经打过电话了，{place}还是没人来处理",
    "第二次打了，{place}的问题怎么还没解决，你们到底管不管",
    "刚才反映的{place}的情况没有任何人联系我，要求尽快答复",
    "再次来电催促，{place}情况更严重了",
)


@dataclass(frozen=True, slots=True)
class Topic:
    """Something people call about every day: how often, when, and what they say."""

    category: str
    weight: float
    peaks: tuple[tuple[float, float, float], ...]  # (hour, width in hours, height) over a base of 0.25
    texts: tuple[str, ...]


TOPICS: Final = (
    Topic(
        "noise",
        14,
        ((22.0, 2.0, 2.2), (13.0, 1.5, 0.4)),
        (
            "{place}夜宵摊音响声音很大，影响老人休息",
            "{place}广场舞音乐太响",
            "{place}楼上装修电钻响个不停",
        ),
    ),
    Topic(
        "parking",
        13,
        ((19.5, 2.0, 1.6), (9.0, 1.5, 0.8)),
        (
            "{place}车辆乱停，消防车进不来",
            "{place}人行道上停满了车",
            "{place}地锁占了公共车位",
        ),
    ),
    Topic("garbage", 8, ((8.0, 2.0, 1.2),), ("{place}垃圾桶满溢，几天没人清运", "{place}建筑垃圾堆在路边")),
    Topic("street_light", 4, ((20.5, 1.8, 2.0),), ("{place}路灯连续三天不亮", "{place}路灯一闪一闪的")),
    Topic("road_damage", 5, ((9.0, 2.5, 0.8),), ("{place}路面有个大坑", "{place}人行道地砖松动，踩上去溅水")),
    Topic(
        "traffic_signal", 3, ((8.2, 1.2, 1.4), (18.0, 1.4, 1.4)), ("{place}路口信号灯一直是红灯", "{place}红绿灯不亮了")
    ),
    Topic(
        "traffic_jam", 5, ((8.3, 1.0, 2.2), (18.2, 1.3, 2.2)), ("{place}堵车堵了四十分钟", "{place}每天这个时候都堵死")
    ),
    Topic(
        "property_management",
        9,
        ((10.0, 2.5, 0.8), (19.0, 2.0, 0.8)),
        ("{place}电梯经常停用，物业一直不修", "{place}小区门禁坏了没人管"),
    ),
    Topic(
        "public_transport",
        4,
        ((8.0, 1.2, 1.5), (18.0, 1.5, 1.2)),
        ("{place}公交车等了四十分钟没有来", "{place}公交站牌被撞歪了"),
    ),
    Topic(
        "consumer_complaint",
        9,
        ((14.0, 3.5, 0.9),),
        ("{place}健身房关门，预付卡的钱退不了", "{place}超市卖过期食品，不肯赔"),
    ),
    Topic(
        "construction",
        6,
        ((23.0, 2.0, 1.2), (7.0, 1.5, 0.8)),
        ("{place}工地晚上施工，吵得睡不着", "{place}工地灰尘很大，没有洒水"),
    ),
    Topic("street_vending", 5, ((18.5, 2.0, 1.5),), ("{place}摊贩占道经营，油烟很大", "{place}流动摊位把盲道占了")),
    Topic(
        "consultation",
        10,
        ((10.0, 2.0, 1.2), (15.0, 2.0, 1.0)),
        ("咨询居住证续签需要哪些材料", "咨询医保报销比例", "请问公积金怎么提取"),
    ),
    Topic("illegal_building", 3, ((10.5, 3.0, 0.6),), ("{place}顶楼在搭违章建筑", "{place}邻居私自破墙开店")),
    Topic("elderly_care", 2, ((10.0, 3.0, 0.6),), ("{place}独居老人好几天没看到，请上门看看",)),
    Topic("labour_dispute", 3, ((14.5, 3.0, 0.8),), ("{place}工地拖欠三个月工资", "公司不给加班费，劳动合同也不签")),
    Topic("water_outage", 1.5, ((7.5, 1.5, 0.8), (18.5, 1.5, 0.8)), ("{place}停水了，什么时候能来水",)),
    Topic("other", 4, ((12.0, 4.0, 0.5),), ("{place}有只狗没有人管", "{place}墙上贴满小广告")),
)


def depth_words(depth_mm: float) -> str:
    """How a caller tells a depth."""
    return next(words for most, words in DEPTHS if depth_mm <= most)
