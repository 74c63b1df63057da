// Bound the stream, above all that can come while the bridge is away: MAXLEN also trims entries that nobody has read.
package main

import (
	"cmp"
	"context"
	"log"
	"os"

	"github.com/redis/go-redis/v9"
)

func main() {
	options, err := redis.ParseURL(cmp.Or(os.Getenv("REDIS_URL"), "redis://127.0.0.1:6379"))
	if err != nil {
		log.Fatal(err)
	}
	err = redis.NewClient(options).XAdd(context.Background(), &redis.XAddArgs{
		Stream:     "orders",
		NoMkStream: true, // a stream that no bridge has made, such as one with a typing error, is not made here
		MaxLen:     1_000_000,
		Approx:     true,
		Values:     []string{"data", `{"id": "order-4711", "total": 129}`},
	}).Err()
	if err != nil { // redis.Nil: there is no such stream
		log.Fatal(err)
	}
}
