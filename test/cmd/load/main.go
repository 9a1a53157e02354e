// Command load sends requests to the platform on this machine like its users, prints the result of each second, and fails if a
// request was lost:
//
//	cd test && go run ./cmd/load -ca ../bin/ca.pem -rate 300 -for 1m
package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"platform.example/test/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var options load.Options
	flag.StringVar(&options.BaseURL, "url", "https://localhost:30443", "the address of the API, on this machine")
	flag.Float64Var(&options.Rate, "rate", 100, "requests per second")
	flag.DurationVar(&options.Duration, "for", time.Minute, "duration, at most 14m")
	flag.IntVar(&options.Users, "users", 0, "number of users (default: enough for the gateway's default limit per user)")
	flag.Float64Var(&options.NewConnections, "new", 0.1, "the share of requests that open a new connection; below 0: none")
	authority := flag.String("ca", "", "a PEM `file` with the certificate authority of the server (default: the system's authorities)")
	file := flag.String("json", "", "a `file` for the results of all requests")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q: want only flags, see -help", flag.Args())
	}
	if *authority != "" {
		pool, err := read(*authority)
		if err != nil {
			return err
		}
		options.RootCAs = pool
	}

	running, err := load.Start(ctx, options)
	if err != nil {
		return err
	}
	watch(running)
	result := running.Stop()
	fmt.Print(result.Summary())
	if *file != "" {
		err = write(*file, result)
	}
	// Also after an interruption: Settle checks the acknowledged orders and removes the users.
	return errors.Join(err, failed(result), running.Settle(context.WithoutCancel(ctx)))
}

// failed has no details, because the summary prints them.
func failed(result load.Result) error {
	if result.Err() != nil {
		return errors.New("the load failed")
	}
	return nil
}

func read(path string) (*x509.CertPool, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("-ca: %s contains no PEM certificate", path)
	}
	return pool, nil
}

// watch prints the results of each second until the run ends.
func watch(running *load.Run) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for seen := 0; ; {
		select {
		case <-running.Done():
			return
		case at := <-tick.C:
			samples := running.Samples(seen)
			seen += len(samples)
			fmt.Println(at.Format(time.TimeOnly), load.Result{Samples: samples}.Line())
		}
	}
}

func write(path string, result load.Result) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("-json: %w", err)
	}
	return errors.Join(json.NewEncoder(file).Encode(result), file.Close())
}
