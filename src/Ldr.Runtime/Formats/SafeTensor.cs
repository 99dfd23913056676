using System.Buffers.Binary;
using System.Runtime.InteropServices;

namespace Ldr.Runtime.Formats;

/// <summary>A named tensor of a safetensors file: a shape, a number type and little-endian bytes in row-major order.</summary>
public sealed class SafeTensor
{
    /// <summary>What each pattern of 16 bits means in half precision: looked up several times as fast as worked out.</summary>
    private static readonly Lazy<float[]> Halves = new(() =>
        [.. Enumerable.Range(0, 1 << 16).Select(bits => (float)BitConverter.UInt16BitsToHalf((ushort)bits))]);

    /// <summary>Wraps bytes without copying them.</summary>
    /// <exception cref="ArgumentException">A negative size, or not as many bytes as shape and type take.</exception>
    public SafeTensor(string name, long[] shape, TensorType dtype, byte[] bytes)
    {
        ArgumentNullException.ThrowIfNull(name);
        ArgumentNullException.ThrowIfNull(shape);
        ArgumentNullException.ThrowIfNull(bytes);
        if (ByteCount(shape, dtype) != bytes.LongLength)
        {
            throw new ArgumentException(
                $"tensor '{name}': {bytes.LongLength} bytes for shape [{string.Join(", ", shape)}] of {dtype}", nameof(bytes));
        }

        Name = name;
        Shape = shape;
        DType = dtype;
        Bytes = bytes;
    }

    /// <summary>The tensor's name, unique in its file.</summary>
    public string Name { get; }

    /// <summary>The sizes; none for a single number.</summary>
    public long[] Shape { get; }

    /// <summary>The number type.</summary>
    public TensorType DType { get; }

    /// <summary>The numbers, little endian, last axis fastest. Not a copy.</summary>
    public byte[] Bytes { get; }

    /// <summary>How many numbers there are.</summary>
    public int Count => Bytes.Length / Size(DType);

    /// <summary>Whether <see cref="ToFloats"/> can give the numbers: the type is F32, F16, BF16 or F64.</summary>
    public bool IsFloatingPoint => DType is TensorType.F32 or TensorType.F16 or TensorType.BF16 or TensorType.F64;

    /// <summary>Makes a tensor of float32 or, rounded to nearest, of half precision.</summary>
    /// <exception cref="ArgumentException">Not as many values as the shape has.</exception>
    public static SafeTensor FromFloats(string name, long[] shape, ReadOnlySpan<float> values, bool half = false)
    {
        byte[] bytes = new byte[values.Length * (half ? 2 : 4)];
        for (int i = 0; i < values.Length; i++)
        {
            if (half)
            {
                BinaryPrimitives.WriteHalfLittleEndian(bytes.AsSpan(2 * i), (Half)values[i]);
            }
            else
            {
                BinaryPrimitives.WriteSingleLittleEndian(bytes.AsSpan(4 * i), values[i]);
            }
        }

        return new SafeTensor(name, shape, half ? TensorType.F16 : TensorType.F32, bytes);
    }

    /// <summary>The numbers as float32; from F32, F16, BF16 or F64.</summary>
    /// <exception cref="InvalidOperationException">The tensor is of another type.</exception>
    public float[] ToFloats()
    {
        ReadOnlySpan<byte> bytes = Bytes;
        float[] values = new float[Count];
        if (DType == TensorType.F32 && BitConverter.IsLittleEndian)
        {
            bytes.CopyTo(MemoryMarshal.AsBytes(values.AsSpan()));
            return values;
        }

        if (DType == TensorType.F16)
        {
            ReadOnlySpan<float> all = Halves.Value;
            for (int i = 0; i < values.Length; i++)
            {
                values[i] = all[BinaryPrimitives.ReadUInt16LittleEndian(bytes[(2 * i)..])];
            }

            return values;
        }

        for (int i = 0; i < values.Length; i++)
        {
            values[i] = DType switch
            {
                TensorType.F32 => BinaryPrimitives.ReadSingleLittleEndian(bytes[(4 * i)..]),
                TensorType.BF16 => BitConverter.Int32BitsToSingle(BinaryPrimitives.ReadInt16LittleEndian(bytes[(2 * i)..]) << 16),
                TensorType.F64 => (float)BinaryPrimitives.ReadDoubleLittleEndian(bytes[(8 * i)..]),
                _ => throw new InvalidOperationException($"tensor '{Name}' holds {DType}, not floating-point numbers"),
            };
        }

        return values;
    }

    /// <summary>Bytes per number.</summary>
    internal static int Size(TensorType type) => type switch
    {
        TensorType.BOOL or TensorType.U8 or TensorType.I8 => 1,
        TensorType.U16 or TensorType.I16 or TensorType.F16 or TensorType.BF16 => 2,
        TensorType.U32 or TensorType.I32 or TensorType.F32 => 4,
        TensorType.U64 or TensorType.I64 or TensorType.F64 => 8,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "not a tensor type"),
    };

    /// <summary>The bytes that a tensor takes; -1 when a size is negative or the product is beyond any file.</summary>
    internal static long ByteCount(ReadOnlySpan<long> shape, TensorType type)
    {
        bool empty = shape.Contains(0);
        Int128 bytes = Size(type);
        foreach (long size in shape)
        {
            if (size < 0)
            {
                return -1;
            }

            bytes *= empty ? 1 : size;
            if (bytes > long.MaxValue)
            {
                return -1;
            }
        }

        return empty ? 0 : (long)bytes;
    }
}
