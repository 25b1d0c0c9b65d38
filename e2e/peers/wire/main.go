// Prints the descriptors of the CRI v1 module as JSON, for wire.test.ts to compare ours with.
package main

import (
	"os"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func main() {
	file := protodesc.ToFileDescriptorProto((&cri.VersionRequest{}).ProtoReflect().Descriptor().ParentFile())
	out, err := protojson.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		panic(err)
	}
	if _, err := os.Stdout.Write(out); err != nil {
		panic(err)
	}
}
