# SPDX-License-Identifier: Apache-2.0
"""The control API as its users meet it: the AWS CLI, boto3, berth-api over TCP and over the unix socket, and whoever sends
garbage. What answers must look like comes from botocore's own model of EFS, never from the server."""
import datetime
import http.client
import json
import os
import re
import socket
import sqlite3
import subprocess
import time
import unittest

import harness

try:
    import boto3
    import botocore.auth
    import botocore.awsrequest
    import botocore.config
    import botocore.credentials
    import botocore.exceptions
    import botocore.loaders
    import botocore.model
except ImportError:
    boto3 = None

AWS = "/usr/bin/aws"
SERVICE = "elasticfilesystem"
VERSION = "/2015-02-01"
NEWER_MEMBERS = {"FileSystemProtection"}  # younger than the model that Debian 12 installs
BUILT = {"CreateFileSystem", "DescribeFileSystems", "DeleteFileSystem", "CreateAccessPoint", "DescribeAccessPoints",
         "DeleteAccessPoint", "TagResource", "UntagResource", "ListTagsForResource"}
BODY_MAX = 1 << 20


def read_key(directory):
    with open(os.path.join(directory, "credentials")) as f:
        text = f.read()
    return (re.search(r"aws_access_key_id = (\S+)", text).group(1),
            re.search(r"aws_secret_access_key = (\S+)", text).group(1))


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=20)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class ApiCase(unittest.TestCase):
    """One server for the class; self.efs is a boto3 client, self.call() a request signed by botocore."""

    @classmethod
    def setUpClass(cls):
        if boto3 is None:
            raise unittest.SkipTest("boto3: python3-boto3 is not installed")
        cls.server = harness.Server()
        cls.addClassCleanup(cls.server.stop)
        cls.key = read_key(cls.server.directory)
        cls.address = cls.server.api_address
        cls.model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("efs", "service-2"))
        cls.efs = cls.client()

    @classmethod
    def client(cls, region="us-east-1"):
        config = botocore.config.Config(parameter_validation=False, retries={"max_attempts": 0}, connect_timeout=5,
                                        read_timeout=20)
        session = boto3.session.Session(aws_access_key_id=cls.key[0], aws_secret_access_key=cls.key[1],
                                        region_name=region)
        client = session.client("efs", endpoint_url="http://" + cls.address, config=config)
        cls.addClassCleanup(client.close)
        return client

    def signed(self, method, path, body=b"", key=None, service=SERVICE):
        request = botocore.awsrequest.AWSRequest(method, "http://" + self.address + path, data=body,
                                                 headers={"Content-Type": "application/json"} if body else {})
        credentials = botocore.credentials.Credentials(*(key or self.key))
        botocore.auth.SigV4Auth(credentials, service, "eu-central-1").add_auth(request)
        return dict(request.headers)

    def send(self, method, path, body=b"", headers=None):
        connection = http.client.HTTPConnection(self.address, timeout=20)
        self.addCleanup(connection.close)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response, response.read()

    def call(self, method, path, body=None):
        data = json.dumps(body).encode() if body is not None else b""
        response, answer = self.send(method, path, data, self.signed(method, path, data))
        return response.status, json.loads(answer) if answer else None

    def assert_error(self, response, answer, error, status):
        self.assertEqual((response.status, response.getheader("x-amzn-ErrorType")), (status, error), answer)
        body = json.loads(answer)
        self.assertEqual(body["ErrorCode"], error)
        self.assertTrue(body["Message"])
        return body

    def assert_refused(self, error, status, operation, **parameters):
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            getattr(self.efs, operation)(**parameters)
        response = caught.exception.response
        self.assertEqual((response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]), (error, status))
        self.assertTrue(response["Error"]["Message"])
        return response

    def new_fs(self, **parameters):
        return self.efs.create_file_system(**parameters)["FileSystemId"]

    def new_ap(self, fs, **parameters):
        return self.efs.create_access_point(FileSystemId=fs, **parameters)["AccessPointId"]


# --- shapes ---

class Shapes(ApiCase):
    def check(self, value, shape, where):
        """A raw JSON value against botocore's shape: required and known members, types, patterns, enums, ranges."""
        kind = shape.type_name
        if kind == "structure":
            self.assertIsInstance(value, dict, where)
            self.assertLessEqual(set(shape.required_members), set(value), where)
            self.assertLessEqual(set(value) - NEWER_MEMBERS, set(shape.members), where)
            for name in set(value) & set(shape.members):
                self.check(value[name], shape.members[name], where + "." + name)
        elif kind == "list":
            self.assertIsInstance(value, list, where)
            for member in value:
                self.check(member, shape.member, where + "[]")
        elif kind == "string":
            self.assertIsInstance(value, str, where)
            self.check_string(value, shape, where)
        elif kind in ("integer", "long"):
            self.assertIs(type(value), int, where)
            self.assertGreaterEqual(value, shape.metadata.get("min", value), where)
        elif kind == "boolean":
            self.assertIs(type(value), bool, where)
        else:
            self.assertIn(kind, ("timestamp", "double", "float"), where)
            self.assertIn(type(value), (int, float), where)

    def check_string(self, value, shape, where):
        pattern = shape.metadata.get("pattern", "")
        if pattern and r"\p" not in pattern:  # Python's re has no Unicode classes
            self.assertRegex(value, pattern, where)
        if shape.enum:
            self.assertIn(value, shape.enum, where)
        self.assertLessEqual(len(value), shape.metadata.get("max", len(value)), where)

    def check_answer(self, operation, method, path, body=None):
        model = self.model.operation_model(operation)
        status, answer = self.call(method, VERSION + path, body)
        self.assertEqual(status, model.http["responseCode"], answer)
        self.check(answer, model.output_shape, operation)
        return answer

    def test_file_systems(self):
        before = time.time() - 1
        made = self.check_answer("CreateFileSystem", "POST", "/file-systems", {
            "CreationToken": "shapes", "PerformanceMode": "maxIO", "ThroughputMode": "provisioned", "Encrypted": True,
            "ProvisionedThroughputInMibps": 12.5, "Tags": [{"Key": "Name", "Value": "n"}, {"Key": "k", "Value": ""}]})
        listed = self.check_answer("DescribeFileSystems", "GET", "/file-systems?FileSystemId=" + made["FileSystemId"])
        fs = listed["FileSystems"][0]
        self.assertRegex(fs["FileSystemId"], r"\Afs-[0-9a-f]{17}\Z")
        self.assertEqual(fs["LifeCycleState"], "available")
        for name, value in {"OwnerId": "000000000000", "CreationToken": "shapes", "Name": "n", "PerformanceMode": "maxIO",
                            "ThroughputMode": "provisioned", "ProvisionedThroughputInMibps": 12.5, "Encrypted": True,
                            "NumberOfMountTargets": 0,
                            "FileSystemArn": "arn:aws:elasticfilesystem:us-east-1:000000000000:file-system/"
                                             + fs["FileSystemId"],
                            "Tags": [{"Key": "Name", "Value": "n"}, {"Key": "k", "Value": ""}]}.items():
            self.assertEqual((name, fs[name]), (name, value))
            self.assertEqual((name, made[name]), (name, value))
        self.assertEqual(fs["SizeInBytes"]["Value"], 6144)  # EFS's empty file system
        self.assertTrue(before <= fs["CreationTime"] <= time.time() + 1)
        status, answer = self.call("DELETE", VERSION + "/file-systems/" + fs["FileSystemId"])
        self.assertEqual((status, answer), (204, None))

    def test_access_points(self):
        fs = self.new_fs()
        user = {"Uid": 0, "Gid": 4294967295, "SecondaryGids": list(range(1, 17))}
        root = {"Path": "/a/b c/é/d", "CreationInfo": {"OwnerUid": 1, "OwnerGid": 2, "Permissions": "1750"}}
        made = self.check_answer("CreateAccessPoint", "POST", "/access-points", {
            "ClientToken": "t", "FileSystemId": fs, "PosixUser": user, "RootDirectory": root,
            "Tags": [{"Key": "Name", "Value": "wall"}]})
        listed = self.check_answer("DescribeAccessPoints", "GET", "/access-points?AccessPointId=" + made["AccessPointId"])
        ap = listed["AccessPoints"][0]
        self.assertRegex(ap["AccessPointId"], r"\Afsap-[0-9a-f]{17}\Z")
        for name, value in {"ClientToken": "t", "FileSystemId": fs, "PosixUser": user, "RootDirectory": root,
                            "Name": "wall", "OwnerId": "000000000000",
                            "AccessPointArn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/"
                                              + ap["AccessPointId"]}.items():
            self.assertEqual((name, ap[name]), (name, value))
            self.assertEqual((name, made[name]), (name, value))
        self.assertEqual(ap["LifeCycleState"], "available")

    def test_the_plainest_access_point(self):
        fs = self.new_fs()
        made = self.check_answer("CreateAccessPoint", "POST", "/access-points", {"ClientToken": "p", "FileSystemId": fs})
        self.assertEqual(made["RootDirectory"], {"Path": "/"})
        self.assertNotIn("PosixUser", made)
        self.assertNotIn("Name", made)
        self.assertEqual(made["Tags"], [])

    def test_boto3_parses_times(self):
        fs = self.efs.create_file_system()
        self.assertIsInstance(fs["CreationTime"], datetime.datetime)
        self.assertLess(abs(fs["CreationTime"].timestamp() - time.time()), 60)

    def test_every_operation_of_the_model_is_routed(self):
        for name in self.model.operation_names:
            operation = self.model.operation_model(name)
            if name in BUILT:
                continue
            path = re.sub(r"\{\w+\}", "fs-00000000000000000", operation.http["requestUri"])
            method = operation.http["method"]
            with self.subTest(name):
                response, answer = self.send(method, path, b"", self.signed(method, path))
                self.assertIn(name, self.assert_error(response, answer, "NotImplemented", 501)["Message"])


# --- rules ---

class Rules(ApiCase):
    def test_create_file_system(self):
        for parameters in (
                {"CreationToken": ""}, {"CreationToken": "x" * 65}, {"CreationToken": "a\nb"}, {"CreationToken": 7},
                {"PerformanceMode": "fast"}, {"PerformanceMode": 1}, {"ThroughputMode": "none"},
                {"ThroughputMode": "provisioned"}, {"ProvisionedThroughputInMibps": 5.0},
                {"ThroughputMode": "provisioned", "ProvisionedThroughputInMibps": 0.5},
                {"ThroughputMode": "provisioned", "ProvisionedThroughputInMibps": 3415.0},
                {"Backup": True}, {"KmsKeyId": "alias/x"}, {"Tags": {}}, {"Tags": [{"Key": "a"}]},
                {"Tags": [{"Key": "", "Value": ""}]}, {"Tags": [{"Key": "aws:x", "Value": ""}]},
                {"Tags": [{"Key": "AwS:x", "Value": ""}]}, {"Tags": [{"Key": "a,b", "Value": ""}]},
                {"Tags": [{"Key": "k" * 129, "Value": ""}]}, {"Tags": [{"Key": "k", "Value": "v" * 257}]},
                {"Tags": [{"Key": "k", "Value": "\x1b[0m"}]}, {"Tags": [{"Key": "k", "Value": "1"}] * 2},
                {"Tags": [{"Key": "k%d" % i, "Value": ""} for i in range(51)]}):
            body = {"CreationToken": "rules", **parameters}
            with self.subTest(parameters):
                data = json.dumps(body).encode()
                response, answer = self.send("POST", VERSION + "/file-systems", data,
                                             self.signed("POST", VERSION + "/file-systems", data))
                self.assert_error(response, answer, "BadRequest", 400)
        self.assert_refused("UnsupportedAvailabilityZone", 400, "create_file_system", AvailabilityZoneName="us-east-1a")
        self.assertEqual(self.efs.describe_file_systems(CreationToken="rules")["FileSystems"], [])

    def test_what_is_just_allowed(self):
        tags = [{"Key": "k%d" % i, "Value": ""} for i in range(48)]
        tags += [{"Key": "é" * 128, "Value": "v" * 256}, {"Key": "a b_.:/=+-@9", "Value": "é" * 256}]
        fs = self.new_fs(CreationToken="é" * 64, Tags=tags, ThroughputMode="provisioned",
                         ProvisionedThroughputInMibps=3414.0)
        found = self.efs.describe_file_systems(CreationToken="é" * 64)["FileSystems"]
        self.assertEqual([f["FileSystemId"] for f in found], [fs])
        self.assertEqual(found[0]["Tags"], tags)
        path = "/" + "p" * 99
        for root in (path, "/a/b/c/d", "/"):
            ap = self.new_ap(fs, RootDirectory={"Path": root})
            described = self.efs.describe_access_points(AccessPointId=ap)["AccessPoints"][0]
            self.assertEqual(described["RootDirectory"]["Path"], root)

    def test_create_access_point(self):
        fs = self.new_fs()
        info = {"OwnerUid": 1, "OwnerGid": 1, "Permissions": "755"}
        pattern = self.model.shape_for("Path").metadata["pattern"]
        paths = ["", "a", "a/b", "/a/", "//", "/a//b", "/.a", "/a/.", "/a/..", "/a/.b", "/a/b/c/d/e", "/" + "a" * 100]
        paths += ["/a%sb" % c for c in "$#<>;`|&?{}^*\n"]
        bad = [{"RootDirectory": {"Path": path}} for path in paths]
        for path in paths:
            self.assertTrue(len(path) > 100 or not re.match(pattern, path) or path.endswith("\n"), path)
        bad += [{"RootDirectory": {"Path": "/a", "CreationInfo": {k: v for k, v in info.items() if k != gone}}}
                for gone in info]
        bad += [{"RootDirectory": {"CreationInfo": dict(info, Permissions=p)}} for p in ("75", "00755", "0788", "rwx", 755)]
        bad += [{"RootDirectory": {"CreationInfo": dict(info, OwnerUid=u)}} for u in (-1, 1 << 32, "1", 1.5)]
        bad += [{"RootDirectory": []}, {"RootDirectory": {"CreationInfo": 1}}, {"RootDirectory": {"Path": 1}}]
        bad += [{"PosixUser": user} for user in (
            {"Uid": 1}, {"Gid": 1}, {"Uid": -1, "Gid": 1}, {"Uid": 1 << 32, "Gid": 1}, {"Uid": 1 << 70, "Gid": 1},
            {"Uid": "1", "Gid": 1}, {"Uid": 1, "Gid": 1, "SecondaryGids": [1] * 17},
            {"Uid": 1, "Gid": 1, "SecondaryGids": [-1]}, {"Uid": 1, "Gid": 1, "SecondaryGids": 1}, [])]
        bad += [{"ClientToken": ""}, {"ClientToken": "x" * 65}, {"FileSystemId": None}, {"FileSystemId": "fs-1"},
                {"FileSystemId": "fs-" + "g" * 17}, {"FileSystemId": "fsap-" + "0" * 17}]
        for parameters in bad:
            data = json.dumps({"ClientToken": "rules", "FileSystemId": fs, **parameters}).encode()
            with self.subTest(parameters):
                response, answer = self.send("POST", VERSION + "/access-points", data,
                                             self.signed("POST", VERSION + "/access-points", data))
                self.assert_error(response, answer, "BadRequest", 400)
        self.assertEqual(self.efs.describe_access_points(FileSystemId=fs)["AccessPoints"], [])

    def test_bodies_that_are_no_request(self):
        for data in (b"", b"x", b"[]", b"{", b'{"CreationToken": "a"', b'"x"', b"null", b'{"CreationToken": "\xff"}',
                     b"[" * 100000, b'{"CreationToken": "a\\u0000b"}', b'{"CreationToken": "a", "CreationToken": "b"}'):
            with self.subTest(data[:40]):
                response, answer = self.send("POST", VERSION + "/file-systems", data,
                                             self.signed("POST", VERSION + "/file-systems", data))
                self.assert_error(response, answer, "BadRequest", 400)

    def test_what_is_not_there(self):
        for nowhere in ("fs-00000000000000000", "fs-" + "0" * 8, "fs-" + "0" * 40):
            self.assert_refused("FileSystemNotFound", 404, "describe_file_systems", FileSystemId=nowhere)
            self.assert_refused("FileSystemNotFound", 404, "delete_file_system", FileSystemId=nowhere)
            self.assert_refused("FileSystemNotFound", 404, "create_access_point", FileSystemId=nowhere)
            self.assert_refused("FileSystemNotFound", 404, "describe_access_points", FileSystemId=nowhere)
        nowhere = "fsap-00000000000000000"
        self.assert_refused("AccessPointNotFound", 404, "describe_access_points", AccessPointId=nowhere)
        self.assert_refused("AccessPointNotFound", 404, "delete_access_point", AccessPointId=nowhere)
        self.assertEqual(self.efs.describe_file_systems(CreationToken="no such")["FileSystems"], [])

    def test_malformed_ids_and_pages(self):
        fs = self.new_fs()
        for bad in ("fs-1", "x", "fs-ABCDEF0123", "../" + fs, "arn:aws:s3:::" + fs, "a" * 200,
                    "arn:aws:elasticfilesystem:us-east-1:1:access-point/" + fs):
            self.assert_refused("BadRequest", 400, "describe_file_systems", FileSystemId=bad)
            self.assert_refused("BadRequest", 400, "delete_file_system", FileSystemId=bad)
        for query in ("MaxItems=0", "MaxItems=-1", "MaxItems=x", "MaxItems=", "Marker=", "Marker=x", "Marker=p",
                      "Marker=p99999999999999999999", "MaxItems=1&MaxItems=2", "FileSystemId=%25zz",
                      "CreationToken=" + "x" * 300):
            with self.subTest(query):
                path = VERSION + "/file-systems?" + query
                response, answer = self.send("GET", path, b"", self.signed("GET", path))
                self.assert_error(response, answer, "BadRequest", 400)
        ap = self.new_ap(fs)
        self.assert_refused("BadRequest", 400, "describe_access_points", AccessPointId=ap, FileSystemId=fs)

    def test_unknown_paths(self):
        for method, path in (("GET", "/"), ("GET", VERSION), ("GET", VERSION + "/nothing"), ("GET", "/2016-01-01/file-systems"),
                             ("PATCH", VERSION + "/file-systems"), ("GET", VERSION + "/file-systems/a/b/c"),
                             ("DELETE", VERSION + "/file-systems/"), ("POST", "/metrics")):
            with self.subTest((method, path)):
                response, answer = self.send(method, path, b"", self.signed(method, path))
                self.assert_error(response, answer, "UnknownOperationException", 404)

    def test_creating_twice_names_the_first(self):
        fs = self.new_fs(CreationToken="twice")
        status, answer = self.call("POST", VERSION + "/file-systems", {"CreationToken": "twice"})
        self.assertEqual((status, answer["ErrorCode"], answer["FileSystemId"]), (409, "FileSystemAlreadyExists", fs))
        self.assert_refused("FileSystemAlreadyExists", 409, "create_file_system", CreationToken="twice")
        ap = self.new_ap(fs, ClientToken="twice")
        status, answer = self.call("POST", VERSION + "/access-points", {"ClientToken": "twice", "FileSystemId": fs})
        self.assertEqual((status, answer["ErrorCode"], answer["AccessPointId"]), (409, "AccessPointAlreadyExists", ap))
        self.efs.delete_access_point(AccessPointId=ap)
        self.efs.delete_file_system(FileSystemId=fs)
        self.assertNotEqual(self.new_fs(CreationToken="twice"), fs)

    def test_arns_name_what_ids_name(self):
        fs = self.efs.create_file_system()
        ap = self.efs.create_access_point(FileSystemId=fs["FileSystemArn"])
        self.assertEqual(ap["FileSystemId"], fs["FileSystemId"])
        found = self.efs.describe_access_points(AccessPointId=ap["AccessPointArn"])["AccessPoints"]
        self.assertEqual([a["AccessPointId"] for a in found], [ap["AccessPointId"]])
        found = self.efs.describe_file_systems(FileSystemId=fs["FileSystemArn"])["FileSystems"]
        self.assertEqual([f["FileSystemId"] for f in found], [fs["FileSystemId"]])
        self.efs.delete_access_point(AccessPointId=ap["AccessPointArn"])
        self.efs.delete_file_system(FileSystemId=fs["FileSystemArn"])
        self.assert_refused("FileSystemNotFound", 404, "describe_file_systems", FileSystemId=fs["FileSystemId"])

    def test_deleting_a_file_system_takes_its_access_points(self):
        fs = self.new_fs()
        ap = self.new_ap(fs)
        self.efs.delete_file_system(FileSystemId=fs)
        self.assert_refused("AccessPointNotFound", 404, "describe_access_points", AccessPointId=ap)


class Tags(ApiCase):
    def tags(self, resource):
        return {t["Key"]: t["Value"] for t in self.efs.list_tags_for_resource(ResourceId=resource)["Tags"]}

    def test_tags_of_both_kinds(self):
        fs = self.efs.create_file_system(Tags=[{"Key": "Name", "Value": "a"}])
        ap = self.efs.create_access_point(FileSystemId=fs["FileSystemId"])
        for resource in (fs["FileSystemId"], ap["AccessPointId"], fs["FileSystemArn"], ap["AccessPointArn"]):
            self.efs.tag_resource(ResourceId=resource, Tags=[{"Key": "Name", "Value": "b"}, {"Key": "k/é +", "Value": "="}])
            self.assertEqual(self.tags(resource), {"Name": "b", "k/é +": "="})
            self.efs.untag_resource(ResourceId=resource, TagKeys=["k/é +", "nothing"])
            self.assertEqual(self.tags(resource), {"Name": "b"})
        self.assertEqual(self.efs.describe_file_systems(FileSystemId=fs["FileSystemId"])["FileSystems"][0]["Name"], "b")
        self.assertEqual(self.efs.describe_access_points(AccessPointId=ap["AccessPointId"])["AccessPoints"][0]["Name"], "b")

    def test_pages(self):
        tags = [{"Key": "k%d" % i, "Value": str(i)} for i in range(50)]
        fs = self.new_fs(Tags=tags)
        found, token = [], {}
        while True:
            page = self.efs.list_tags_for_resource(ResourceId=fs, MaxResults=20, **token)
            found += page["Tags"]
            if "NextToken" not in page:
                break
            token = {"NextToken": page["NextToken"]}
        self.assertEqual(found, tags)

    def test_refusals(self):
        fs = self.new_fs(Tags=[{"Key": "k%d" % i, "Value": ""} for i in range(50)])
        self.assert_refused("BadRequest", 400, "tag_resource", ResourceId=fs, Tags=[{"Key": "more", "Value": ""}])
        self.assert_refused("BadRequest", 400, "tag_resource", ResourceId=fs, Tags=[{"Key": "aws:x", "Value": ""}])
        self.assert_refused("BadRequest", 400, "tag_resource", ResourceId="x-1", Tags=[])
        self.assert_refused("BadRequest", 400, "untag_resource", ResourceId=fs, TagKeys=[])
        self.assert_refused("BadRequest", 400, "untag_resource", ResourceId=fs, TagKeys=["k%d" % i for i in range(51)])
        self.assertEqual(len(self.tags(fs)), 50)
        for resource, error in (("fs-00000000000000000", "FileSystemNotFound"),
                                ("fsap-00000000000000000", "AccessPointNotFound")):
            self.assert_refused(error, 404, "tag_resource", ResourceId=resource, Tags=[])
            self.assert_refused(error, 404, "untag_resource", ResourceId=resource, TagKeys=["k"])
            self.assert_refused(error, 404, "list_tags_for_resource", ResourceId=resource)


class Pages(ApiCase):
    def test_file_systems(self):
        for fs in self.efs.describe_file_systems()["FileSystems"]:
            self.efs.delete_file_system(FileSystemId=fs["FileSystemId"])
        made = [self.new_fs() for _ in range(5)]
        pages = list(self.efs.get_paginator("describe_file_systems").paginate(PaginationConfig={"PageSize": 2}))
        self.assertEqual([len(p["FileSystems"]) for p in pages], [2, 2, 1])
        self.assertEqual([f["FileSystemId"] for p in pages for f in p["FileSystems"]], made)
        self.assertEqual(pages[1]["Marker"], pages[0]["NextMarker"])
        first = self.efs.describe_file_systems(MaxItems=5)
        self.assertNotIn("NextMarker", first)
        first = self.efs.describe_file_systems(MaxItems=2)
        for fs in made[:2]:  # what the marker stands on may go
            self.efs.delete_file_system(FileSystemId=fs)
        rest = self.efs.describe_file_systems(Marker=first["NextMarker"])["FileSystems"]
        self.assertEqual([f["FileSystemId"] for f in rest], made[2:])

    def test_access_points(self):
        fs, other = self.new_fs(), self.new_fs()
        made = []
        for _ in range(7):
            made.append(self.new_ap(fs))
            self.new_ap(other)
        found, token = [], {}
        while True:
            page = self.efs.describe_access_points(FileSystemId=fs, MaxResults=3, **token)
            self.assertLessEqual(len(page["AccessPoints"]), 3)
            found += [a["AccessPointId"] for a in page["AccessPoints"]]
            if "NextToken" not in page:
                break
            token = {"NextToken": page["NextToken"]}
        self.assertEqual(found, made)

    def test_no_page_is_longer_than_100(self):
        fs = self.new_fs()
        made = [self.new_ap(fs) for _ in range(101)]
        first = self.efs.describe_access_points(FileSystemId=fs, MaxResults=1000)
        self.assertEqual([a["AccessPointId"] for a in first["AccessPoints"]], made[:100])
        environment = {"BERTH_ENDPOINT": "unix:" + os.path.join(self.server.directory, "api.sock")}
        listed = json.loads(cli("ap", "list", "--fs", fs, "--json", environment=environment).stdout)
        self.assertEqual([a["AccessPointId"] for a in listed], made)


# --- who may ask ---

class Signatures(ApiCase):
    PATH = VERSION + "/file-systems"

    def refused(self, error, method, path, body, headers):
        response, answer = self.send(method, path, body, headers)
        self.assert_error(response, answer, error, 403)

    def test_any_region(self):
        for region in ("us-east-1", "eu-west-3", "local"):
            self.client(region).describe_file_systems()

    def test_unsigned(self):
        self.refused("MissingAuthenticationToken", "GET", self.PATH, b"", {})
        self.refused("MissingAuthenticationToken", "GET", "/nothing", b"", {})

    def test_unknown_key_and_wrong_secret(self):
        unknown = self.signed("GET", self.PATH, key=("AKIAAAAAAAAAAAAAAAAA", self.key[1]))
        self.refused("UnrecognizedClientException", "GET", self.PATH, b"", unknown)
        wrong = self.signed("GET", self.PATH, key=(self.key[0], self.key[1][::-1]))
        self.refused("InvalidSignatureException", "GET", self.PATH, b"", wrong)

    def test_another_service(self):
        self.refused("InvalidSignatureException", "GET", self.PATH, b"", self.signed("GET", self.PATH, service="s3"))

    def test_tampering(self):
        body = b'{"CreationToken": "tamper"}'
        headers = self.signed("POST", self.PATH, body)
        self.refused("InvalidSignatureException", "POST", self.PATH, body.replace(b"tamper", b"forged"), headers)
        self.refused("InvalidSignatureException", "POST", self.PATH + "?a=b", body, headers)
        self.refused("InvalidSignatureException", "PUT", self.PATH, body, headers)
        self.refused("InvalidSignatureException", "POST", VERSION + "/access-points", body, headers)
        self.refused("InvalidSignatureException", "POST", self.PATH, body, dict(headers, Host="other"))
        self.assertEqual(self.efs.describe_file_systems(CreationToken="tamper")["FileSystems"], [])

    def test_old_signatures(self):
        headers = self.signed("GET", self.PATH)
        now = datetime.datetime.now(datetime.timezone.utc)
        for minutes in (-16, 16):
            then = (now + datetime.timedelta(minutes=minutes)).strftime("%Y%m%dT%H%M%SZ")
            authorization = headers["Authorization"].replace(headers["X-Amz-Date"][:8], then[:8])
            self.refused("InvalidSignatureException", "GET", self.PATH, b"",
                         {"X-Amz-Date": then, "Authorization": authorization})

    def test_broken_headers(self):
        good = self.signed("GET", self.PATH)
        for authorization in ("", "x", "Basic eDp5", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a", "\xff" * 50,
                              good["Authorization"] + ", Signature=0"):
            with self.subTest(authorization):
                self.refused("IncompleteSignature", "GET", self.PATH, b"", dict(good, Authorization=authorization))
        self.refused("IncompleteSignature", "GET", self.PATH, b"", {"Authorization": good["Authorization"]})

    def test_health_and_metrics_are_for_all(self):
        response, answer = self.send("GET", "/healthz")
        self.assertEqual((response.status, answer.strip()), (200, b"ok"))
        response, answer = self.send("GET", "/metrics")
        self.assertEqual(response.status, 200)
        self.assertTrue(response.getheader("Content-Type").startswith("text/plain; version=0.0.4"))
        for line in answer.decode().splitlines():
            self.assertRegex(line, r"\A(# (HELP|TYPE) berth_\w+ .+|berth_\w+(\{\w+=\"\w+\"\})? -?\d+)\Z")

    def test_the_unix_socket_trusts_by_uid(self):
        path = os.path.join(self.server.directory, "api.sock")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        connection = UnixConnection(path)
        self.addCleanup(connection.close)
        connection.request("GET", self.PATH)
        self.assertEqual(connection.getresponse().status, 200)

    def test_the_unix_socket_refuses_other_uids(self):
        harness.require_root()
        path = os.path.join(self.server.directory, "api.sock")
        connection = UnixConnection(path)
        self.addCleanup(connection.close)
        self.addCleanup(os.seteuid, 0)
        os.chmod(path, 0o666)
        self.addCleanup(os.chmod, path, 0o600)
        directory = os.open(self.server.directory, os.O_PATH)
        self.addCleanup(os.close, directory)
        connection.path = "/proc/self/fd/%d/api.sock" % directory
        os.chmod(self.server.directory, 0o711)
        self.addCleanup(os.chmod, self.server.directory, 0o700)
        os.seteuid(65534)
        try:
            connection.request("GET", self.PATH)
        finally:
            os.seteuid(0)
        response = connection.getresponse()
        self.assert_error(response, response.read(), "AccessDeniedException", 403)


# --- garbage ---

class Garbage(ApiCase):
    def raw(self, data, timeout=10):
        """What comes back for these bytes, until the server closes or is silent for half a second."""
        with socket.create_connection(self.address.split(":"), timeout) as s:
            answer = b""
            try:
                s.sendall(data)
                s.settimeout(0.5)
                while chunk := s.recv(65536):
                    answer += chunk
            except (ConnectionError, TimeoutError):
                pass
            return answer

    def tearDown(self):
        response, answer = self.send("GET", "/healthz")
        self.assertEqual((response.status, answer.strip()), (200, b"ok"))
        self.assertTrue(self.server.running())

    def test_bodies_at_the_limit(self):
        path = VERSION + "/file-systems"
        padding = b" " * (BODY_MAX - len(b'{"CreationToken": "limit"}'))
        body = b'{"CreationToken": "limit"}' + padding
        response, answer = self.send("POST", path, body, self.signed("POST", path, body))
        self.assertEqual(response.status, 201, answer)
        body += b" "
        response, answer = self.send("POST", path, body, self.signed("POST", path, body))
        self.assert_error(response, answer, "RequestEntityTooLarge", 413)

    def test_a_body_announced_as_huge(self):
        answer = self.raw(b"POST %s/file-systems HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\nabc"
                          % VERSION.encode())
        self.assertIn(b" 413 ", answer.split(b"\r\n")[0])

    def test_a_chunked_body_without_end(self):
        with socket.create_connection(self.address.split(":"), 20) as s:
            s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
            with self.assertRaises(OSError):
                for _ in range(1000):
                    s.sendall(chunk)

    def test_garbage(self):
        head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        for data in (b"\0" * 1000, b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", os.urandom(4096),
                     b"GET / \xff\r\n\r\n",
                     b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + os.urandom(300),
                     head + b"Content-Length: -1\r\n\r\n", head + b"Content-Length: x\r\n\r\n",
                     head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", head + b"no colon\r\n\r\n",
                     b"GET /%00%ff%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"GET " + b"/" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"):
            with self.subTest(data[:60]):
                status = self.raw(data).split(b"\r\n")[0]
                self.assertRegex(status, rb"\A(HTTP/1\.[01] (4\d\d|505|501|200) .*)?\Z")

    def test_heads_that_are_too_long(self):
        for data in (b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 100000 + b"\r\n\r\n",
                     b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: x\r\n" * 20000 + b"\r\n"):
            self.assertRegex(self.raw(data).split(b"\r\n")[0], rb"\A(HTTP/1\.[01] 4\d\d .*)?\Z")

    def test_more_headers_than_a_signature_could_cover(self):
        headers = dict(self.signed("GET", VERSION + "/file-systems"), **{"X-%d" % i: "v" for i in range(80)})
        response, answer = self.send("GET", VERSION + "/file-systems", b"", headers)
        self.assert_error(response, answer, "IncompleteSignature", 403)

    def test_connections_that_say_nothing(self):
        silent = [socket.create_connection(self.address.split(":"), 10) for _ in range(100)]
        for s in silent:
            self.addCleanup(s.close)
            s.sendall(b"GET / HT")

    def test_connections_that_go_away(self):
        for _ in range(50):
            with socket.create_connection(self.address.split(":"), 10) as s:
                s.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")

    def test_many_requests_on_one_connection(self):
        connection = http.client.HTTPConnection(self.address, timeout=20)
        self.addCleanup(connection.close)
        for _ in range(200):
            connection.request("GET", "/healthz")
            self.assertEqual(connection.getresponse().read().strip(), b"ok")


# --- restarts ---

class Restarts(ApiCase):
    def states(self):
        return {f["FileSystemId"]: f["LifeCycleState"] for f in self.client().describe_file_systems()["FileSystems"]}

    def set_state(self, fs, state):
        with sqlite3.connect(os.path.join(self.server.directory, "catalogue.db")) as db:
            db.execute("UPDATE file_systems SET state = ? WHERE id = ?", (state, fs))
        db.close()

    def test_all_is_kept(self):
        fs = self.new_fs(Tags=[{"Key": "Name", "Value": "kept"}])
        self.new_ap(fs, RootDirectory={"Path": "/p"})
        before = self.efs.describe_access_points(FileSystemId=fs)["AccessPoints"]
        self.server.kill9()
        self.server.start()
        self.assertEqual(self.client().describe_access_points(FileSystemId=fs)["AccessPoints"], before)
        self.assertEqual(self.states()[fs], "available")

    def test_what_a_crash_interrupted_is_finished(self):
        creating, deleting, whole = self.new_fs(), self.new_fs(), self.new_fs()
        ap = self.new_ap(deleting)
        self.server.stop()
        self.set_state(creating, 0)  # enum catalogue_state
        self.set_state(deleting, 2)
        self.server.start()
        harness.wait_for(lambda: deleting not in self.states(), 10)
        harness.wait_for(lambda: self.states()[creating] == "available", 10)
        self.assertEqual(self.states()[whole], "available")
        self.assert_refused("AccessPointNotFound", 404, "describe_access_points", AccessPointId=ap)
        self.efs.delete_file_system(FileSystemId=creating)


class Attached(ApiCase):
    def test_a_file_system_in_use_is_not_deleted(self):
        harness.require_root()
        harness.require_fuse()
        fs = self.new_fs()
        mount = harness.Mount(self.server, self.new_ap(fs))
        self.addCleanup(mount.unmount)
        with open(os.path.join(mount.path, "f"), "w") as f:
            f.write("kept")
        self.assert_refused("FileSystemInUse", 409, "delete_file_system", FileSystemId=fs)
        with open(os.path.join(mount.path, "f")) as f:
            self.assertEqual(f.read(), "kept")
        refused = self.server.berth("fs", "delete", fs, check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("--force", refused.stderr)
        mount.unmount()
        # The server learns that the client has gone when it reads the end of the connection.
        harness.wait_for(lambda: self.server.berth("fs", "delete", fs, check=False).returncode == 0, 10)

    def test_force_cuts_clients_off(self):
        harness.require_root()
        harness.require_fuse()
        fs = self.new_fs()
        mount = harness.Mount(self.server, self.new_ap(fs), options="soft,timeo=1")
        self.addCleanup(mount.unmount)
        self.server.berth("fs", "delete", "--force", fs)
        self.assert_refused("FileSystemNotFound", 404, "describe_file_systems", FileSystemId=fs)
        with self.assertRaises(OSError):
            os.listdir(mount.path)


# --- the AWS CLI and our own ---

def clean_environment(changes):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "BERTH_ENDPOINT"))}
    return {**environment, "HOME": harness.scratch(), **changes}


def cli(*args, environment=None, code=0):
    result = subprocess.run([harness.program("berth-api"), *args], env=clean_environment(environment or {}),
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30)
    if result.returncode != code:
        raise AssertionError("berth-api %s: %d, not %d: %s" % (" ".join(args), result.returncode, code, result.stderr))
    return result


class Quotas(ApiCase):
    """BerthQuota, which EFS does not have: only what asks for one sees it."""

    def create(self, path, expected=200, **body):
        status, answer = self.call("POST", VERSION + path, body)
        self.assertEqual(status, expected, answer)
        return answer

    def put(self, object_id, **quota):
        status, answer = self.call("PUT", VERSION + "/berth/quota/" + object_id, quota)
        self.assertEqual(status, 200, answer)
        return answer

    def described(self, path, member):
        status, answer = self.call("GET", VERSION + path)
        self.assertEqual(status, 200, answer)
        return answer[member][0]

    def test_limits_come_back_with_the_use(self):
        fs = self.create("/file-systems", 201, CreationToken="q", BerthQuota={"Bytes": 2 ** 63 - 1})["FileSystemId"]
        self.assertEqual(self.described("/file-systems?FileSystemId=" + fs, "FileSystems")["BerthQuota"],
                         {"Bytes": 2 ** 63 - 1, "Inodes": 0, "UsedBytes": 0, "UsedInodes": 1})
        ap = self.create("/access-points", ClientToken="q", FileSystemId=fs, BerthQuota={"Inodes": 5})
        self.assertEqual(ap["BerthQuota"], {"Bytes": 0, "Inodes": 5, "UsedBytes": 0, "UsedInodes": 1})
        ap = ap["AccessPointId"]
        expected = {"Bytes": 7, "Inodes": 5, "UsedBytes": 0, "UsedInodes": 1}
        self.assertEqual(self.put(ap, Bytes=7), {"BerthQuota": expected})
        self.assertEqual(self.described("/access-points?AccessPointId=" + ap, "AccessPoints")["BerthQuota"], expected)
        self.assertEqual(self.described("/access-points?FileSystemId=" + fs, "AccessPoints")["BerthQuota"], expected)
        self.assertEqual(self.efs.describe_access_points(AccessPointId=ap)["AccessPoints"][0]["AccessPointId"], ap)
        arn = self.efs.describe_access_points(AccessPointId=ap)["AccessPoints"][0]["AccessPointArn"]
        self.assertEqual(self.put(arn.replace("/", "%2F"), Bytes=0, Inodes=0), {})
        self.assertNotIn("BerthQuota", self.described("/access-points?AccessPointId=" + ap, "AccessPoints"))
        self.assertEqual(self.put(fs, Bytes=0), {})
        self.assertNotIn("BerthQuota", self.described("/file-systems?FileSystemId=" + fs, "FileSystems"))

    def test_what_is_no_quota(self):
        fs = self.efs.create_file_system(CreationToken="plain")["FileSystemId"]
        for quota in (5, "5", [], {"Bytes": -1}, {"Bytes": "5"}, {"Inodes": 1.5}, {"Inodes": True}):
            with self.subTest(quota):
                self.assertEqual(self.create("/file-systems", 400, CreationToken="x", BerthQuota=quota)["ErrorCode"],
                                 "BadRequest")
                self.assertEqual(self.create("/access-points", 400, ClientToken="x", FileSystemId=fs,
                                             BerthQuota=quota)["ErrorCode"], "BadRequest")
                status, answer = self.call("PUT", VERSION + "/berth/quota/" + fs, {"Bytes": 1, "Inodes": -1})
                self.assertEqual((status, answer["ErrorCode"]), (400, "BadRequest"))
        self.assertNotIn("BerthQuota", self.described("/file-systems?FileSystemId=" + fs, "FileSystems"))
        for object_id, status, error in (("fs-00000000000000000", 404, "FileSystemNotFound"),
                                         ("fsap-00000000000000000", 404, "AccessPointNotFound"),
                                         ("nothing", 400, "BadRequest")):
            answer = self.call("PUT", VERSION + "/berth/quota/" + object_id, {"Bytes": 1})
            self.assertEqual((answer[0], answer[1]["ErrorCode"]), (status, error))

    def test_the_command_line(self):
        environment = {"BERTH_ENDPOINT": "unix:" + os.path.join(self.server.directory, "api.sock")}
        fs = cli("fs", "create", "--quota-inodes", "1k", environment=environment).stdout.strip()
        for amount, expected in (("1", 1), ("3K", 3 << 10), ("3M", 3 << 20), ("3G", 3 << 30), ("3T", 3 << 40),
                                 ("9223372036854775807", 2 ** 63 - 1), ("8388607T", 8388607 << 40)):
            cli("fs", "quota", "--quota-bytes", amount, fs, environment=environment)
            quota = self.described("/file-systems?FileSystemId=" + fs, "FileSystems")["BerthQuota"]
            self.assertEqual((quota["Bytes"], quota["Inodes"]), (expected, 1024))
        ap = cli("ap", "create", "--fs", fs, "--quota-bytes", "1M", environment=environment).stdout.strip()
        table = cli("ap", "list", "--fs", fs, environment=environment).stdout.splitlines()
        self.assertRegex(table[1], "^%s .* 0/1048576 +- " % ap)
        (row,) = [line for line in cli("fs", "list", environment=environment).stdout.splitlines() if line.startswith(fs)]
        self.assertIn("  0/%d  " % (8388607 << 40), row)
        self.assertIn("  1/1024  ", row)
        for args in (("fs", "quota", fs), ("ap", "quota", "--quota-bytes", "1"), ("fs", "quota", fs, "--quota-bytes", "1KB"),
                     ("fs", "quota", fs, "--quota-bytes", "-1"), ("fs", "create", "--quota-inodes", "K"),
                     ("ap", "quota", ap, "--quota-bytes", "8388608T"), ("fs", "quota", fs, "--quota-bytes", "")):
            with self.subTest(args):
                self.assertTrue(cli(*args, environment=environment, code=2).stderr)
        error = cli("ap", "quota", "--quota-bytes", "1", "fsap-00000000000000000", environment=environment, code=1).stderr
        self.assertIn("fsap-00000000000000000", error)


class AwsCli(ApiCase):
    def aws(self, *args):
        if not os.access(AWS, os.X_OK):
            self.skipTest("awscli: %s is not installed" % AWS)
        environment = clean_environment(dict(self.server.credentials(), AWS_DEFAULT_REGION="us-east-1",
                                             AWS_EC2_METADATA_DISABLED="true"))
        result = subprocess.run([AWS, "--endpoint-url", "http://" + self.address, "--output", "json", "efs", *args],
                                env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        if result.returncode != 0:
            raise AssertionError(result.stderr)
        return json.loads(result.stdout) if result.stdout.strip() else None

    def test_a_session(self):
        fs = self.aws("create-file-system", "--tags", "Key=Name,Value=the wall")["FileSystemId"]
        ap = self.aws("create-access-point", "--file-system-id", fs, "--posix-user", "Uid=1001,Gid=1001,SecondaryGids=7,8",
                      "--root-directory", "Path=/msg,CreationInfo={OwnerUid=1001,OwnerGid=1001,Permissions=750}")
        self.assertEqual(ap["PosixUser"], {"Uid": 1001, "Gid": 1001, "SecondaryGids": [7, 8]})
        self.assertEqual(ap["RootDirectory"],
                         {"Path": "/msg", "CreationInfo": {"OwnerUid": 1001, "OwnerGid": 1001, "Permissions": "750"}})
        found = self.aws("describe-file-systems", "--file-system-id", fs)["FileSystems"]
        self.assertEqual([(f["FileSystemId"], f["Name"], f["LifeCycleState"]) for f in found],
                         [(fs, "the wall", "available")])
        found = self.aws("describe-access-points", "--file-system-id", fs)["AccessPoints"]
        self.assertEqual([a["AccessPointId"] for a in found], [ap["AccessPointId"]])
        self.aws("delete-access-point", "--access-point-id", ap["AccessPointId"])
        self.aws("delete-file-system", "--file-system-id", fs)
        self.assertEqual(self.aws("describe-file-systems")["FileSystems"], [])


class BerthCli(ApiCase):
    def setUp(self):
        self.over_tcp = dict(self.server.credentials(), BERTH_ENDPOINT="http://" + self.address)
        self.over_unix = {"BERTH_ENDPOINT": "unix:" + os.path.join(self.server.directory, "api.sock")}

    def test_a_session_over_both(self):
        for environment in (self.over_tcp, self.over_unix):
            result = cli("fs", "create", "--name", "a name", "--tag", "k=v=w", environment=environment)
            self.assertRegex(result.stdout, r"\Afs-[0-9a-f]{17}\n\Z")
            fs = result.stdout.strip()
            result = cli("ap", "create", "--fs", fs, "--path", "/p", "--uid", "1", "--gid", "2", "--gids", "3,4", "--owner",
                         "5:6", "--perm", "0750", "--name", "n", environment=environment)
            self.assertRegex(result.stdout, r"\Afsap-[0-9a-f]{17}\n\Z")
            ap = result.stdout.strip()
            described = self.efs.describe_access_points(AccessPointId=ap)["AccessPoints"][0]
            self.assertEqual(described["PosixUser"], {"Uid": 1, "Gid": 2, "SecondaryGids": [3, 4]})
            self.assertEqual(described["RootDirectory"]["CreationInfo"]["OwnerGid"], 6)
            self.assertEqual(int(described["RootDirectory"]["CreationInfo"]["Permissions"], 8), 0o750)
            described = self.efs.describe_file_systems(FileSystemId=fs)["FileSystems"][0]
            self.assertEqual(described["Tags"], [{"Key": "Name", "Value": "a name"}, {"Key": "k", "Value": "v=w"}])
            listed = json.loads(cli("fs", "list", "--json", environment=environment).stdout)
            self.assertIn(fs, [f["FileSystemId"] for f in listed])
            listed = json.loads(cli("ap", "list", "--fs", fs, "--json", environment=environment).stdout)
            self.assertEqual([a["AccessPointId"] for a in listed], [ap])
            cli("ap", "delete", ap, environment=environment)
            cli("fs", "delete", fs, environment=environment)
            self.assertIn(fs, cli("fs", "delete", fs, environment=environment, code=1).stderr)

    def test_tables_are_aligned(self):
        fs = cli("fs", "create", "--name", "é", environment=self.over_unix).stdout.strip()
        for path in ("/", "/longer/path"):
            cli("ap", "create", "--fs", fs, "--path", path, environment=self.over_unix)
        for command in (("fs", "list"), ("ap", "list")):
            lines = cli(*command, environment=self.over_unix).stdout.splitlines()
            head = lines[0]
            for line in lines[1:]:
                for column in re.finditer(r"(?<=  )\S", head):
                    self.assertEqual(line[column.start() - 1], " ", lines)
                    self.assertNotEqual(line[column.start()], " ", lines)

    def test_tokens(self):
        fs = cli("fs", "create", "--token", "mine", environment=self.over_unix).stdout.strip()
        self.assertIn(fs, cli("fs", "create", "--token", "mine", environment=self.over_unix, code=1).stderr)

    def test_credentials_come_from_where_aws_tools_look(self):
        key, secret = self.key
        endpoint = {"BERTH_ENDPOINT": "http://" + self.address}
        home = harness.new_directory("home-")
        os.mkdir(os.path.join(home, ".aws"))
        with open(os.path.join(home, ".aws", "credentials"), "w") as f:
            f.write("[default]\naws_access_key_id=no\naws_secret_access_key=no\n# a comment\n[ mine ]\n"
                    "aws_access_key_id = %s\n  aws_secret_access_key=%s\nregion = x\n" % (key, secret))
        good = dict(endpoint, AWS_ACCESS_KEY_ID=key, AWS_SECRET_ACCESS_KEY=secret)
        cli("fs", "list", environment=good)
        in_home = dict(endpoint, HOME=home)
        cli("fs", "list", environment=in_home, code=1)
        cli("fs", "list", "--profile", "mine", environment=in_home)
        cli("fs", "list", environment=dict(in_home, AWS_PROFILE="mine"))
        cli("fs", "list", environment=dict(good, HOME=home, AWS_PROFILE="default"))
        cli("fs", "list", "--profile", "default", environment=dict(good, HOME=home), code=1)
        self.assertIn("none", cli("fs", "list", "--profile", "none", environment=in_home, code=1).stderr)
        for half in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            cli("fs", "list", environment=dict(endpoint, **{half: "x"}), code=1)

    def test_errors_are_one_line_that_helps(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            nobody = "http://127.0.0.1:%d" % unused.getsockname()[1]
            error = cli("fs", "list", "--endpoint", nobody, environment=self.over_tcp, code=1).stderr
            self.assertEqual(error, "berth: cannot reach %s: connection refused; is berthd running?\n" % nobody)
        for args in (("fs", "list", "--endpoint", "unix:/nowhere/api.sock"), ("fs", "list", "--profile", "nobody"),
                     ("fs", "delete", "fs-00000000000000000"), ("ap", "create", "--fs", "fs-1"),
                     ("ap", "create", "--fs", "fs-00000000000000000", "--path", "/.x")):
            error = cli(*args, environment=self.over_tcp, code=1).stderr
            self.assertEqual(error.count("\n"), 1, error)
            self.assertTrue(error.startswith("berth: "), error)
        error = cli("fs", "list", environment={"BERTH_ENDPOINT": "http://" + self.address}, code=1).stderr
        self.assertIn("AWS_SHARED_CREDENTIALS_FILE", error)

    def test_wrong_usage_is_2(self):
        for args in ((), ("fs",), ("fs", "nothing"), ("xx", "list"), ("fs", "list", "extra"), ("fs", "list", "--nothing"),
                     ("fs", "delete"), ("fs", "delete", "a", "b"), ("ap", "create"), ("ap", "create", "--fs", "f", "--uid", "1"),
                     ("ap", "create", "--fs", "f", "--gids", "1"), ("ap", "create", "--fs", "f", "--owner", "1:1"),
                     ("ap", "create", "--fs", "f", "--uid", "-1", "--gid", "1"),
                     ("ap", "create", "--fs", "f", "--owner", "1", "--perm", "755"), ("fs", "create", "--tag", "x"),
                     ("fs", "list", "--endpoint", "ftp://x")):
            with self.subTest(args):
                result = cli(*args, environment=self.over_unix, code=2)
                self.assertTrue(result.stderr)
        cli("fs", "list", environment={"BERTH_ENDPOINT": "nonsense"}, code=2)


if __name__ == "__main__":
    unittest.main()
