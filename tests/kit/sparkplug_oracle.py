"""Sparkplug B through Google's protobuf: the wire's oracle, made from the field numbers and nothing of ours."""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from cython_ext.payload import Carrier, DataType, Metric, Payload, Property

_TYPES = {
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
}

# message: {field number: (name, type, in the oneof, repeated)}; a type with a capital is a message.
_SCHEMA: dict[str, dict[int, tuple[str, str, bool, bool]]] = {
    "Payload": {
        1: ("timestamp", "uint64", False, False),
        2: ("metrics", "Metric", False, True),
        3: ("seq", "uint64", False, False),
        4: ("uuid", "string", False, False),
        5: ("body", "bytes", False, False),
    },
    "Metric": {
        1: ("name", "string", False, False),
        2: ("alias", "uint64", False, False),
        3: ("timestamp", "uint64", False, False),
        4: ("datatype", "uint32", False, False),
        5: ("is_historical", "bool", False, False),
        6: ("is_transient", "bool", False, False),
        7: ("is_null", "bool", False, False),
        8: ("metadata", "MetaData", False, False),
        9: ("properties", "PropertySet", False, False),
        10: ("int_value", "uint32", True, False),
        11: ("long_value", "uint64", True, False),
        12: ("float_value", "float", True, False),
        13: ("double_value", "double", True, False),
        14: ("boolean_value", "bool", True, False),
        15: ("string_value", "string", True, False),
        16: ("bytes_value", "bytes", True, False),
        17: ("dataset_value", "bytes", True, False),  # opaque, as ours
        18: ("template_value", "bytes", True, False),
        19: ("extension_value", "bytes", True, False),
    },
    "MetaData": {2: ("content_type", "string", False, False), 8: ("description", "string", False, False)},
    "PropertySet": {1: ("keys", "string", False, True), 2: ("values", "PropertyValue", False, True)},
    "PropertyValue": {
        1: ("type", "uint32", False, False),
        2: ("is_null", "bool", False, False),
        3: ("int_value", "uint32", True, False),
        4: ("long_value", "uint64", True, False),
        5: ("float_value", "float", True, False),
        6: ("double_value", "double", True, False),
        7: ("boolean_value", "bool", True, False),
        8: ("string_value", "string", True, False),
        9: ("propertyset_value", "bytes", True, False),
        10: ("propertysets_value", "bytes", True, False),
        11: ("extension_value", "bytes", True, False),
    },
}


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="oracle.proto", package="oracle", syntax="proto2")
    for message, fields in _SCHEMA.items():
        described = file.message_type.add(name=message)
        if any(oneof for _, _, oneof, _ in fields.values()):
            described.oneof_decl.add(name="value")
        for number, (name, kind, oneof, repeated) in fields.items():
            field = described.field.add(name=name, number=number)
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type = field.TYPE_MESSAGE
                field.type_name = f".oracle.{kind}"
            if oneof:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"oracle.{name}")) for name in _SCHEMA}


MESSAGES = _build()
OraclePayload = MESSAGES["Payload"]
_SIGNED_32 = (DataType.INT8, DataType.INT16, DataType.INT32)


def _optional(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def _signed(datatype: DataType | None, value: Any) -> Any:
    if datatype in _SIGNED_32 and value >= 1 << 31:
        return value - (1 << 32)
    if datatype is DataType.INT64 and value >= 1 << 63:
        return value - (1 << 64)
    return value


def _property(key: str, value: Any) -> Property:
    kind = DataType(value.type)
    field = value.WhichOneof("value")
    nested = field in (None, "propertyset_value", "propertysets_value", "extension_value")
    return Property(key, kind, None if nested else _signed(kind, getattr(value, field)))


def _metric(metric: Any) -> Metric:
    field = metric.WhichOneof("value")
    datatype = DataType(metric.datatype) if metric.HasField("datatype") else None
    return Metric(
        name=_optional(metric, "name"),
        alias=_optional(metric, "alias"),
        timestamp=_optional(metric, "timestamp"),
        datatype=datatype,
        value=None if field is None else _signed(datatype, getattr(metric, field)),
        is_null=metric.is_null,
        is_historical=metric.is_historical,
        is_transient=metric.is_transient,
        properties=tuple(
            _property(key, value) for key, value in zip(metric.properties.keys, metric.properties.values, strict=True)
        ),
        carrier=Carrier.NONE
        if field is None
        else Carrier(next(n for n, f in _SCHEMA["Metric"].items() if f[0] == field)),
    )


def oracle_decode(data: bytes) -> Payload:
    """What protobuf reads, in our words. Raises google.protobuf.message.DecodeError."""
    message = OraclePayload.FromString(data)
    return Payload(
        timestamp=_optional(message, "timestamp"),
        metrics=tuple(map(_metric, message.metrics)),
        seq=_optional(message, "seq"),
        uuid=_optional(message, "uuid"),
        body=_optional(message, "body"),
    )


def _put(message: Any, field: str, value: Any) -> None:
    if value is not None:
        setattr(message, field, value)


def _wrapped(value: Any, bits: int) -> Any:
    return value & ((1 << bits) - 1)


def _fill_property(message: Any, item: Property) -> None:
    message.type = item.type
    if item.value is None:
        message.is_null = True
    elif item.type is DataType.FLOAT:
        message.float_value = item.value
    elif item.type is DataType.DOUBLE:
        message.double_value = item.value
    elif item.type is DataType.BOOLEAN:
        message.boolean_value = item.value
    elif isinstance(item.value, str):
        message.string_value = item.value
    elif item.type in (DataType.INT64, DataType.UINT64, DataType.DATETIME):
        message.long_value = _wrapped(item.value, 64)
    else:
        message.int_value = _wrapped(item.value, 32)


def oracle_encode(payload: Payload) -> bytes:
    """What protobuf writes of a payload whose metrics all have datatypes."""
    message = OraclePayload()
    for field in ("timestamp", "seq", "uuid", "body"):
        _put(message, field, getattr(payload, field))
    for metric in payload.metrics:
        out = message.metrics.add()
        for field in ("name", "alias", "timestamp", "datatype"):
            _put(out, field, getattr(metric, field))
        for field in ("is_historical", "is_transient", "is_null"):
            _put(out, field, getattr(metric, field) or None)
        for item in metric.properties:
            out.properties.keys.append(item.key)
        for item in metric.properties:
            _fill_property(out.properties.values.add(), item)
        if metric.value is not None:
            field = _SCHEMA["Metric"][metric.carrier][0]
            value = metric.value
            if metric.carrier in (Carrier.INT, Carrier.LONG):
                value = _wrapped(value, 32 if metric.carrier is Carrier.INT else 64)
            setattr(out, field, value)
    return bytes(message.SerializeToString())
