using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Ldr.Runtime.Geometry;

namespace Ldr.Runtime.Formats;

/// <summary>ITK's files of affine transforms: text (.txt, .tfm) and MATLAB level 4 (.mat, as ANTs writes it).</summary>
internal static class ItkTransformText
{
    private const long MostBytes = 1 << 20;

    /// <summary>The transforms of a text file, in its order.</summary>
    internal static List<ItkTransform> ReadText(string path)
    {
        string[] lines = TextOf(path).Split('\n');
        if (!lines[0].StartsWith("#Insight Transform File", StringComparison.Ordinal))
        {
            throw new InvalidFileException(
                path,
                "is no transform file of ITK",
                "one begins with '#Insight Transform File V1.0'; a field of elastix comes from transformix -def all");
        }

        List<ItkTransform> transforms = [];
        string? type = null;
        double[] parameters = [];
        double[] fixedParameters = [];
        void Add()
        {
            if (type is not null)
            {
                transforms.Add(new ItkTransform(type, parameters, fixedParameters));
            }

            (parameters, fixedParameters) = ([], []);
        }

        foreach (string line in lines.Skip(1))
        {
            int colon = line.IndexOf(':', StringComparison.Ordinal);
            string value = colon < 0 ? string.Empty : line[(colon + 1)..].Trim();
            switch (colon < 0 || line.StartsWith('#') ? string.Empty : line[..colon].Trim())
            {
                case "Transform":
                    Add();
                    type = value;
                    break;
                case "Parameters":
                    parameters = RasterHeader.Numbers(path, "Parameters", value);
                    break;
                case "FixedParameters":
                    fixedParameters = RasterHeader.Numbers(path, "FixedParameters", value);
                    break;
            }
        }

        Add();
        return transforms.Count > 0
            ? transforms
            : throw new InvalidFileException(path, "holds no transform", "a line 'Transform: AffineTransform_double_3_3' is wanted");
    }

    /// <summary>The one transform of a MATLAB level 4 file; null where the file is none.</summary>
    internal static ItkTransform? ReadMatlab(string path)
    {
        byte[] bytes = BytesOf(path);
        int at = 0;
        List<(string Name, double[] Values)> variables = [];
        while (at + 20 <= bytes.Length)
        {
            int Field(int index) => BinaryPrimitives.ReadInt32LittleEndian(bytes.AsSpan(at + (4 * index)));
            (int format, long rows, long columns, int imaginary, int nameLength) = (Field(0), Field(1), Field(2), Field(3), Field(4));

            // 0: little-endian doubles in full matrices; 10: floats.
            int size = format switch { 0 => 8, 10 => 4, _ => 0 };
            if (size == 0 || imaginary != 0 || nameLength is < 2 or > 256 || rows is < 0 or > 4096 || columns is < 0 or > 4096
                || at + 20 + nameLength + (rows * columns * size) > bytes.Length)
            {
                return null;
            }

            string name = Encoding.ASCII.GetString(bytes, at + 20, nameLength - 1);
            at += 20 + nameLength;
            double[] values = new double[rows * columns];
            for (int i = 0; i < values.Length; i++, at += size)
            {
                values[i] = size == 8
                    ? BinaryPrimitives.ReadDoubleLittleEndian(bytes.AsSpan(at))
                    : BinaryPrimitives.ReadSingleLittleEndian(bytes.AsSpan(at));
            }

            variables.Add((name, values));
        }

        return variables is [(string type, double[] parameters), (_, double[] centre)]
            ? new ItkTransform(type, parameters, centre)
            : null;
    }

    internal static void WriteText(string path, Affine world)
    {
        ItkTransform transform = ItkTransform.Of(world);
        string Text(double[] numbers) => string.Join(' ', numbers.Select(n => n.ToString("R", CultureInfo.InvariantCulture)));
        string text = $"#Insight Transform File V1.0\n#Transform 0\nTransform: {transform.Type}\n"
            + $"Parameters: {Text(transform.Parameters)}\nFixedParameters: {Text(transform.Fixed)}\n";
        AtomicFile.Write(path, file => file.Write(Encoding.ASCII.GetBytes(text)));
    }

    internal static void WriteMatlab(string path, Affine world)
    {
        ItkTransform transform = ItkTransform.Of(world);
        AtomicFile.Write(path, file =>
        {
            foreach ((string name, double[] values) in new[] { (transform.Type, transform.Parameters), ("fixed", transform.Fixed) })
            {
                byte[] bytes = new byte[20 + name.Length + 1 + (8 * values.Length)];
                BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(4), values.Length);
                BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(8), 1);
                BinaryPrimitives.WriteInt32LittleEndian(bytes.AsSpan(16), name.Length + 1);
                Encoding.ASCII.GetBytes(name, bytes.AsSpan(20));
                for (int i = 0; i < values.Length; i++)
                {
                    BinaryPrimitives.WriteDoubleLittleEndian(bytes.AsSpan(21 + name.Length + (8 * i)), values[i]);
                }

                file.Write(bytes);
            }
        });
    }

    internal static string TextOf(string path) => Encoding.UTF8.GetString(BytesOf(path));

    private static byte[] BytesOf(string path) => VoxelStream.Guard(path, () =>
    {
        using FileStream file = InputFile.Open(path);
        if (file.Length > MostBytes)
        {
            throw new InvalidFileException(path, "is larger than a megabyte", "a file of an affine transform is smaller");
        }

        byte[] bytes = new byte[file.Length];
        file.ReadExactly(bytes);
        return bytes;
    });
}
