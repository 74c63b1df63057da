// Wait for the confirmation, and set mandatory: without both, an event that no queue takes is dropped in silence.
package main

import (
	"cmp"
	"context"
	"errors"
	"log"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func publish(ctx context.Context) error {
	connection, err := amqp.Dial(cmp.Or(os.Getenv("AMQP_URL"), "amqp://127.0.0.1"))
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	if err := channel.Confirm(false); err != nil {
		return err
	}
	returned := channel.NotifyReturn(make(chan amqp.Return, 1))
	confirmation, err := channel.PublishWithDeferredConfirmWithContext(ctx, "", "orders", true, false, amqp.Publishing{
		MessageId:    "order-4711", // the event's own: published again, it is known
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		Body:         []byte(`{"id": "order-4711", "total": 129}`),
	})
	if err != nil {
		return err
	}
	taken, err := confirmation.WaitContext(ctx)
	if err != nil {
		return err
	}
	if !taken {
		return errors.New("refused, for example by a full queue")
	}
	select {
	case answer := <-returned: // it comes before the confirmation
		return errors.New(answer.ReplyText)
	default:
		return nil
	}
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := publish(ctx); err != nil {
		log.Fatal(err)
	}
}
