// Publish at QoS 1, and read the PUBACK: at QoS 0 nobody says that an event is lost, and 0x10 says that nobody gets it.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

func publish(ctx context.Context) error {
	broker, err := url.Parse(cmp.Or(os.Getenv("MQTT_URL"), "mqtt://127.0.0.1:1883"))
	if err != nil {
		return err
	}
	connection, err := net.Dial("tcp", broker.Host)
	if err != nil {
		return err
	}
	client := paho.NewClient(paho.ClientConfig{Conn: connection})
	if _, err := client.Connect(ctx, &paho.Connect{KeepAlive: 30, CleanStart: true}); err != nil {
		return err
	}
	defer client.Disconnect(&paho.Disconnect{})
	answer, err := client.Publish(ctx, &paho.Publish{
		Topic: "shop/orders",
		QoS:   1,
		// The id is the event's own: published again, it is known.
		Payload: []byte(`{"id": "order-4711", "total": 129}`),
	})
	if err != nil {
		return err
	}
	if answer.ReasonCode != 0 {
		return fmt.Errorf("refused: %#x", answer.ReasonCode)
	}
	return nil
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := publish(ctx); err != nil {
		log.Fatal(err)
	}
}
