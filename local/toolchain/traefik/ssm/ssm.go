// Package ssm replaces the client of AWS Systems Manager for the same reason, and in the same way, as package ec2.
package ssm

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

type Client struct{}
type DescribeInstanceInformationInput struct {
	Filters []types.InstanceInformationStringFilter
}
type DescribeInstanceInformationOutput struct{ InstanceInformationList []types.InstanceInformation }

func NewFromConfig(any) *Client                                        { return nil }
func NewDescribeInstanceInformationPaginator(c *Client, _ any) *Client { return c }
func (*Client) HasMorePages() bool                                     { return true }

func (*Client) NextPage(context.Context) (*DescribeInstanceInformationOutput, error) {
	return nil, errors.New("this Traefik has no provider for Amazon ECS: it was compiled without the client of AWS Systems Manager")
}
