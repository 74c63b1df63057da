"""MQTT 5 and 3.1.1, by paho-mqtt.

The hand-overs of one `MqttSession`, all on the event loop's thread:

    socket -> Tap.pull -> PacketReader.feed -> CopyFilter.drop_copies -> window.put -> receive()
               +-> other packets: Tap.recv -> paho.loop_read -> on_connect, on_subscribe, on_disconnect
    socket <- PahoConnection.flush <- paho's queue of PUBACKs <- CopyFilter.acknowledged <- acknowledge()

    on_connect        Subscriptions.subscribe; once all are granted, SubscriptionStore.maintain
    window is full    PahoConnection.pause_reading; once it has room, resume_reading: deferred bytes first
    every second      paho.loop_misc sends a ping when one is due, or ends the connection if the last has no answer
    any end           PahoConnection.fail -> window.fail -> receive() raises Disconnected -> TakeoverDetector.explain
    fast_path: false  no Tap: paho.loop_read reads the socket; on_message -> event_of -> CopyFilter, as above
    too large         OversizedMessage keeps the beginning and skips the rest; without a Tap, PlainClient passes it there
"""
