"""A deterministic simulator: the real locate, join, loop and archive of several workers in one Python process, on a
virtual clock, over a scripted broker and a scripted ClickHouse.

A seed decides everything: what is sent, how the network dawdles, which worker dies, freezes or is cut off at which
await, which clock jumps. So a failure happens again when its seed is run again (`--seed K --trace`), and thousands of
seeds a minute go where a real cluster gets once a year. What the fakes claim about Kafka, Faust and ClickHouse is
confirmed by the live tests beside this folder.

    clock, process, calls      the event loop, and the life of a simulated process in it
    network, broker, groups    the broker's side of Kafka
    producer, readers, raw_consumer, faust_app     the clients' side, in the places of aiokafka and Faust
    clickhouse                 the store's side, in the place of clickhouse-connect
    city, faults, plays        what a seed decides
    worker, world              the workers, and everything together until it rests
    checks                     what must hold then: arithmetic of the data, and pure functions of the logs
    protections                each protection switched off once, to see that the checks catch it
"""
