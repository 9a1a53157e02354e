module platform.example/local/toolchain/traefik

go 1.26

require github.com/traefik/traefik/v3 v3.6.2

replace github.com/abbot/go-http-auth => github.com/containous/go-http-auth v0.4.1-0.20200324110947-a37a7636d23e

replace github.com/gorilla/mux => github.com/containous/mux v0.0.0-20250523120546-41b6ec3aed59

replace github.com/mailgun/minheap => github.com/containous/minheap v0.0.0-20190809180810-6e71eb837595

exclude github.com/tencentcloud/tencentcloud-sdk-go v3.0.83+incompatible

replace github.com/go-acme/lego/v4 => ./lego

replace github.com/aws/aws-sdk-go-v2/service/ec2 => ./ec2

replace github.com/aws/aws-sdk-go-v2/service/ssm => ./ssm
