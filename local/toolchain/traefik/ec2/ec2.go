// Package ec2 replaces the client of Amazon EC2, the largest package in Traefik. Only Traefik's provider for Amazon ECS calls it, and
// the platform doesn't use that provider. The package contains only what the provider needs to compile. Client is also the paginator.
package ec2

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

type (
	Client                  struct{}
	DescribeInstancesInput  struct{ InstanceIds []string }
	DescribeInstancesOutput struct {
		Reservations []struct{ Instances []types.Instance }
	}
)

func NewFromConfig(any) *Client                              { return nil }
func NewDescribeInstancesPaginator(c *Client, _ any) *Client { return c }
func (*Client) HasMorePages() bool                           { return true }

// NextPage returns an error: there is no client.
func (*Client) NextPage(context.Context) (*DescribeInstancesOutput, error) {
	return nil, errors.New("this Traefik has no provider for Amazon ECS: it was compiled without the client of Amazon EC2")
}
