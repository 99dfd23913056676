using System.Security.Cryptography;
using Ldr.Runtime.Formats;

namespace Ldr.Runtime.Groups;

/// <summary>SHA-256 of what is read.</summary>
internal static class FileDigest
{
    /// <summary>Of bytes.</summary>
    internal static string Of(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));

    /// <summary>Of a file, and of the voxels that stand behind a header.</summary>
    /// <exception cref="InvalidFileException">It cannot be read.</exception>
    internal static string OfFile(string path)
    {
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = new byte[1 << 16];
        Add(path);
        foreach (string behind in OutputFiles.Behind(path).Skip(1))
        {
            Add(behind);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());

        void Add(string file)
        {
            using FileStream stream = InputFile.Open(file);
            try
            {
                for (int read = stream.Read(buffer); read > 0; read = stream.Read(buffer))
                {
                    hash.AppendData(buffer, 0, read);
                }
            }
            catch (IOException error)
            {
                throw new InvalidFileException(file, $"cannot be read ({error.Message})", "check the file and its disk", error);
            }
        }
    }
}
