// An authorizer of grpc-go with the messages of Envoy's own API: the judge of what the proxy asks. It
// lets in who has the header x-key with the value right, and prints what it was asked as JSON.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	pb "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	kinds "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
)

type service struct {
	pb.UnimplementedAuthorizationServer
	mutex sync.Mutex
}

func set(name, value string) []*core.HeaderValueOption {
	return []*core.HeaderValueOption{{Header: &core.HeaderValue{Key: name, Value: value}}}
}

func (s *service) Check(_ context.Context, in *pb.CheckRequest) (*pb.CheckResponse, error) {
	asked, err := protojson.Marshal(in)
	if err != nil {
		return nil, err
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	fmt.Printf("{\"asked\": %s}\n", asked)
	if in.Attributes.Request.Http.Headers["x-key"] != "right" {
		denied := &pb.DeniedHttpResponse{
			Status:  &kinds.HttpStatus{Code: kinds.StatusCode_PaymentRequired},
			Headers: set("x-why", "no key"),
			Body:    "pay first",
		}
		return &pb.CheckResponse{
			Status:       &status.Status{Code: int32(codes.PermissionDenied)},
			HttpResponse: &pb.CheckResponse_DeniedResponse{DeniedResponse: denied},
		}, nil
	}
	allowed := &pb.OkHttpResponse{
		Headers:              set("x-user", "ada"),
		HeadersToRemove:      []string{"x-key"},
		ResponseHeadersToAdd: set("x-judged-by", "grpc-go"),
	}
	return &pb.CheckResponse{
		Status:       &status.Status{Code: int32(codes.OK)},
		HttpResponse: &pb.CheckResponse_OkResponse{OkResponse: allowed},
	}, nil
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	line, _ := json.Marshal(map[string]any{"kind": "listening", "port": port})
	fmt.Println(string(line))
	server := grpc.NewServer()
	pb.RegisterAuthorizationServer(server, &service{})
	if err := server.Serve(listener); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
